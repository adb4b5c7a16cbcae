/* pipeline.c - compute pipelines: found among the device's living ones, or built from cached or freshly compiled
 * SPIR-V on a few threads. Equal kernels of all programs of a device are one pipeline, counted by its users. */
#include "device.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_THREADS = 16, MAX_BINDINGS = 64 };

/* ---- layouts ------------------------------------------------------------------------------------ */

static tf_layout *layout_create(tuff_device *dev, tf_kinds kinds, uint32_t n, bool params, tf_fault *f)
{
    VkDescriptorSetLayoutBinding b[MAX_BINDINGS + 1];
    const uint32_t count = n + params;
    if (n > MAX_BINDINGS)
        return tf_fault_set(f, TUFF_E_LIMIT, "a kernel has %u bindings, %d are the most", n, MAX_BINDINGS), NULL;
    tf_layout *l = tf_alloc(&dev->allocator, sizeof *l);
    if (!l)
        return tf_fault_set(f, TUFF_E_MEMORY, "out of host memory for a pipeline layout"), NULL;
    *l = (tf_layout){ .kinds = kinds, .n_bindings = n, .params = params, .next = dev->layouts };
    for (uint32_t i = 0; i < count; i++) {
        const bool uniform = i == n || kinds.uniform >> i & 1, texel = i < n && kinds.texel >> i & 1;
        b[i] = (VkDescriptorSetLayoutBinding){
            .binding = i, .descriptorCount = 1, .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT,
            .descriptorType = uniform ? VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER : texel ? VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER : VK_DESCRIPTOR_TYPE_STORAGE_BUFFER };
    }
    const VkDescriptorSetLayoutCreateInfo set = { .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO, .bindingCount = count, .pBindings = b };
    if (!tf_vk_ok(dev, f, dev->vk.CreateDescriptorSetLayout(dev->device, &set, NULL, &l->set), "vkCreateDescriptorSetLayout")) {
        tf_free(&dev->allocator, l, sizeof *l);
        return NULL;
    }
    const VkPushConstantRange iteration = { VK_SHADER_STAGE_COMPUTE_BIT, 0, TF_MAX_LOOP_DEPTH * sizeof(int32_t) }; /* in all, so that layouts stay few */
    const VkPipelineLayoutCreateInfo info = { .sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO, .setLayoutCount = 1, .pSetLayouts = &l->set,
                                              .pushConstantRangeCount = 1, .pPushConstantRanges = &iteration };
    if (!tf_vk_ok(dev, f, dev->vk.CreatePipelineLayout(dev->device, &info, NULL, &l->pipeline), "vkCreatePipelineLayout")) {
        dev->vk.DestroyDescriptorSetLayout(dev->device, l->set, NULL);
        tf_free(&dev->allocator, l, sizeof *l);
        return NULL;
    }
    return dev->layouts = l;
}

/* Under pipe_lock. Layouts live as long as the device: there are as many as distinct binding counts. */
static const tf_layout *layout_get(tuff_device *dev, tf_kinds kinds, uint32_t n, bool params, tf_fault *f)
{
    for (const tf_layout *l = dev->layouts; l; l = l->next)
        if (l->kinds.uniform == kinds.uniform && l->kinds.texel == kinds.texel && l->n_bindings == n && l->params == params)
            return l;
    return layout_create(dev, kinds, n, params, f);
}

/* ---- one pipeline ------------------------------------------------------------------------------- */

static bool check_subgroup(const tuff_device *dev, const tf_kernel *k, tf_fault *f)
{
    const tf_limits *l = &dev->caps.limits;
    if (!k->subgroup_size || (l->subgroup_control && k->subgroup_size >= l->subgroup_min && k->subgroup_size <= l->subgroup_max &&
                              k->local[0] % k->subgroup_size == 0))
        return true;
    return tf_fault_set(f, TUFF_E_UNSUPPORTED, "kernel %s needs subgroups of %u lanes in groups of %u; the device offers %u to %u", k->name,
                        k->subgroup_size, k->local[0], l->subgroup_control ? l->subgroup_min : 0, l->subgroup_control ? l->subgroup_max : 0);
}

static bool pipeline_build(tuff_device *dev, const tf_kernel *k, const tf_layout *layout, const tf_spirv *code, VkPipeline *out, tf_fault *f)
{
    VkShaderModule module = VK_NULL_HANDLE;
    const VkShaderModuleCreateInfo m = { .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO, .codeSize = code->n * 4, .pCode = code->words };
    if (!tf_vk_ok(dev, f, dev->vk.CreateShaderModule(dev->device, &m, NULL, &module), "vkCreateShaderModule"))
        return false;
    const VkPipelineShaderStageRequiredSubgroupSizeCreateInfo size = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO, .requiredSubgroupSize = k->subgroup_size };
    const VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO, .layout = layout->pipeline,
        .stage = { .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO, .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                   .pNext = k->subgroup_size ? &size : NULL, .module = module, .pName = "main",
                   .flags = k->subgroup_size ? VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT : 0 } };
    const VkResult r = dev->vk.CreateComputePipelines(dev->device, dev->pipeline_cache, 1, &info, NULL, out);
    dev->vk.DestroyShaderModule(dev->device, module, NULL);
    if (r == VK_SUCCESS)
        tf_label(dev, VK_OBJECT_TYPE_PIPELINE, (uint64_t)*out, k->name);
    return tf_vk_ok(dev, f, r, k->name);
}

/* Text, bindings and subgroup size make the pipeline. */
static tf_key pipeline_key(const tf_kernel *k, tf_kinds kinds, tf_key code)
{
    const uint64_t rest[] = { kinds.uniform, kinds.texel, k->n_bindings, k->n_params != 0, k->subgroup_size };
    return (tf_key){ { tf_hash(code.h[0], rest, sizeof rest), tf_hash(code.h[1], rest, sizeof rest) } };
}

static tf_pipeline *find(tuff_device *dev, tf_key key) /* under pipe_lock; counts the new user */
{
    for (tf_pipeline *p = dev->pipelines; p; p = p->next)
        if (p->key.h[0] == key.h[0] && p->key.h[1] == key.h[1]) {
            p->refs++;
            return p;
        }
    return NULL;
}

/* Publish a built pipeline; if another thread was first, its pipeline is taken and ours dropped. */
static tf_pipeline *publish(tuff_device *dev, tf_key key, const tf_layout *layout, VkPipeline handle, tf_fault *f)
{
    tf_mutex_lock(&dev->pipe_lock);
    tf_pipeline *p = find(dev, key);
    const bool first = !p;
    if (first && (p = tf_alloc(&dev->allocator, sizeof *p))) {
        *p = (tf_pipeline){ .key = key, .refs = 1, .layout = layout, .handle = handle, .next = dev->pipelines };
        dev->pipelines = p;
        dev->cache_dirty = true;
    }
    tf_mutex_unlock(&dev->pipe_lock);
    if (!p)
        tf_fault_set(f, TUFF_E_MEMORY, "out of host memory for a pipeline");
    if (!p || !first)
        dev->vk.DestroyPipeline(dev->device, handle, NULL);
    return p;
}

bool tf_code_get(tuff_device *dev, const tf_kernel *k, tf_spirv *code, tf_fault *f)
{
    if (k->code) {
        *code = (tf_spirv){ malloc(k->code_words * sizeof *k->code), k->code_words };
        if (!code->words)
            return tf_fault_set(f, TUFF_E_MEMORY, "out of host memory for the code of kernel %s", k->name);
        memcpy(code->words, k->code, k->code_words * sizeof *k->code);
        return true;
    }
    const tf_key key = tf_spirv_key(k);
    tf_mutex_lock(&dev->pipe_lock); /* the user's allocator need not be called from two threads at once */
    const bool hit = tf_spirv_load(dev, key, code);
    tf_mutex_unlock(&dev->pipe_lock);
    atomic_fetch_add(hit ? &dev->spirv_hits : &dev->spirv_misses, 1);
    if (hit)
        return true;
    if (!tf_jit(k->name, k->glsl, code, f))
        return false;
    tf_mutex_lock(&dev->pipe_lock);
    tf_spirv_store(dev, key, code);
    tf_mutex_unlock(&dev->pipe_lock);
    return true;
}

static tf_pipeline *pipeline_get(tuff_device *dev, const tf_kernel *k, tf_kinds kinds, tf_fault *f)
{
    const tf_key code_key = tf_spirv_key(k), key = pipeline_key(k, kinds, code_key);
    if (!check_subgroup(dev, k, f))
        return NULL;
    tf_mutex_lock(&dev->pipe_lock);
    tf_pipeline *p = find(dev, key);
    const tf_layout *layout = p ? p->layout : layout_get(dev, kinds, k->n_bindings, k->n_params != 0, f);
    if (!p && layout)
        tf_pipeline_cache_open(dev);
    tf_mutex_unlock(&dev->pipe_lock);
    if (p || !layout)
        return p;
    tf_spirv code;
    VkPipeline handle = VK_NULL_HANDLE;
    if (!tf_code_get(dev, k, &code, f))
        return NULL;
    if (dev->dump_dir[0])
        tf_kernel_dump(dev, k, code_key, &code);
    const bool ok = pipeline_build(dev, k, layout, &code, &handle, f);
    free(code.words);
    return ok ? publish(dev, key, layout, handle, f) : NULL;
}

/* ---- all pipelines of a plan -------------------------------------------------------------------- */

typedef struct job {
    tuff_device *dev;
    const tf_plan *plan;
    const tf_kinds *kinds;
    tf_pipeline **out;
    atomic_uint next, done;
    atomic_bool stop;
    tf_mutex fault_lock;
    tf_fault *fault;
} job;

/* Takes kernels until none is left; false when there was nothing to take. */
static bool work_once(job *j)
{
    const uint32_t i = atomic_fetch_add(&j->next, 1);
    if (i >= j->plan->kernels.n || atomic_load(&j->stop))
        return false;
    tf_fault f = { TUFF_OK, "" };
    j->out[i] = pipeline_get(j->dev, &j->plan->kernels.data[i], j->kinds[i], &f);
    if (!j->out[i] && !atomic_exchange(&j->stop, true)) {
        tf_mutex_lock(&j->fault_lock);
        *j->fault = f; /* the first failure is the one reported */
        tf_mutex_unlock(&j->fault_lock);
    }
    atomic_fetch_add(&j->done, 1);
    return true;
}

static void worker(void *arg)
{
    while (work_once(arg)) {}
}

static bool report(job *j, const tuff_compile_desc *desc)
{
    if (!desc->progress || desc->progress(desc->progress_user, "kernels", atomic_load(&j->done), j->plan->kernels.n))
        return true;
    if (!atomic_exchange(&j->stop, true)) {
        tf_mutex_lock(&j->fault_lock);
        tf_fault_set(j->fault, TUFF_E_CANCELLED, "compiling was cancelled after %u of %u kernels", atomic_load(&j->done), j->plan->kernels.n);
        tf_mutex_unlock(&j->fault_lock);
    }
    return false;
}

bool tf_pipelines_create(tuff_device *dev, const tf_plan *plan, const tf_kinds *kinds, const tuff_compile_desc *desc,
                         tf_pipeline **out, tf_fault *f)
{
    job j = { .dev = dev, .plan = plan, .kinds = kinds, .out = out, .fault = f };
    tf_thread threads[MAX_THREADS];
    uint32_t n = desc->threads ? desc->threads : TF_MIN(tf_cores(), 8u), started = 0;
    n = TF_MIN(TF_MIN(n, MAX_THREADS), plan->kernels.n);
    memset(out, 0, plan->kernels.n * sizeof *out);
    tf_mutex_init(&j.fault_lock);
    /* This thread works too, and it alone calls back. Threads that cannot be started are done without. */
    while (started + 1 < n && tf_thread_start(&threads[started], worker, &j))
        started++;
    while (work_once(&j))
        report(&j, desc);
    for (uint32_t i = 0; i < started; i++)
        tf_thread_join(&threads[i]);
    if (!atomic_load(&j.stop) && started)
        report(&j, desc);
    tf_mutex_release(&j.fault_lock);
    if (!atomic_load(&j.stop)) {
        tf_pipeline_cache_save(dev, false);
        return true;
    }
    for (uint32_t i = 0; i < plan->kernels.n; i++)
        tf_pipeline_release(dev, out[i]);
    memset(out, 0, plan->kernels.n * sizeof *out);
    return false;
}

void tf_pipeline_release(tuff_device *dev, tf_pipeline *p)
{
    if (!p)
        return;
    tf_mutex_lock(&dev->pipe_lock);
    const bool last = --p->refs == 0;
    for (tf_pipeline **at = &dev->pipelines; last && *at; at = &(*at)->next)
        if (*at == p) {
            *at = p->next;
            break;
        }
    tf_mutex_unlock(&dev->pipe_lock);
    if (!last)
        return;
    dev->vk.DestroyPipeline(dev->device, p->handle, NULL);
    tf_free(&dev->allocator, p, sizeof *p);
}

void tf_pipelines_destroy_all(tuff_device *dev)
{
    while (dev->pipelines)
        tf_pipeline_release(dev, dev->pipelines);
    while (dev->layouts) {
        tf_layout *l = dev->layouts;
        dev->layouts = l->next;
        dev->vk.DestroyPipelineLayout(dev->device, l->pipeline, NULL);
        dev->vk.DestroyDescriptorSetLayout(dev->device, l->set, NULL);
        tf_free(&dev->allocator, l, sizeof *l);
    }
    if (dev->pipeline_cache)
        dev->vk.DestroyPipelineCache(dev->device, dev->pipeline_cache, NULL);
    dev->pipeline_cache = VK_NULL_HANDLE;
}
