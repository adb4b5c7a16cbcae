/* jit.c - GLSL to SPIR-V through glslang's C interface. SPIR-V 1.3 for every device: what the kernels need exists
 * there, and one target means one set of cached modules. glslang is initialised at the first compile of the
 * process and kept; several threads may compile at once. Without TF_HAVE_GLSLANG only capsules and cached modules run. */
#include "device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(TF_HAVE_GLSLANG)

#include <glslang/Include/glslang_c_interface.h>
#include <glslang/build_info.h>

#define STR2(x) #x
#define STR(x) STR2(x)

const char *tf_jit_version(void)
{
    return "glslang " STR(GLSLANG_VERSION_MAJOR) "." STR(GLSLANG_VERSION_MINOR) "." STR(GLSLANG_VERSION_PATCH);
}

bool tf_jit_matrices(void) { return GLSLANG_VERSION_MAJOR >= 13; }

/* The compiler's own ceilings; the true ones are the device's and were respected when the text was made. */
static const glslang_resource_t ceilings = {
    .max_compute_work_group_count_x = 65535, .max_compute_work_group_count_y = 65535, .max_compute_work_group_count_z = 65535,
    .max_compute_work_group_size_x = 4096, .max_compute_work_group_size_y = 4096, .max_compute_work_group_size_z = 4096,
    .max_compute_uniform_components = 65536, .max_compute_texture_image_units = 64, .max_compute_image_uniforms = 64,
    .max_combined_texture_image_units = 64, .max_image_units = 64,
    .limits = { .non_inductive_for_loops = true, .while_loops = true, .do_while_loops = true,
                .general_uniform_indexing = true, .general_attribute_matrix_vector_indexing = true,
                .general_varying_indexing = true, .general_sampler_indexing = true,
                .general_variable_indexing = true, .general_constant_matrix_vector_indexing = true },
};

static bool start_compiler(void)
{
    static bool started;
    tf_process_lock();
    if (!started)
        started = glslang_initialize_process() != 0;
    const bool ok = started;
    tf_process_unlock();
    return ok;
}

/* Line n of text, for a message; *length without the newline. */
static const char *line_of(const char *text, unsigned long n, int *length)
{
    while (n > 1 && (text = strchr(text, '\n'))) {
        text++;
        n--;
    }
    *length = text ? (int)strcspn(text, "\n") : 0;
    return text ? text : "";
}

/* "kernel NAME: <first error of the log>\n  12 | <the line>" */
static bool report(tf_fault *f, const char *name, const char *glsl, const char *log)
{
    const char *error = strstr(log, "ERROR:");
    const char *first = error ? error + strlen("ERROR: ") : log;
    const int length = (int)strcspn(first, "\n");
    unsigned long line = 0;
    if (strncmp(first, "0:", 2) == 0)
        line = strtoul(first + 2, NULL, 10);
    int quoted = 0;
    const char *text = line ? line_of(glsl, line, &quoted) : "";
    if (quoted)
        return tf_fault_set(f, TUFF_E_COMPILER, "kernel %s does not compile: %.*s\n%5lu | %.*s", name, length, first, line, quoted, text);
    return tf_fault_set(f, TUFF_E_COMPILER, "kernel %s does not compile: %.*s", name, length, first);
}

static bool generate(glslang_program_t *program, const char *name, tf_spirv *out, tf_fault *f)
{
#if GLSLANG_VERSION_MAJOR >= 12
    glslang_spv_options_t options = { .disable_optimizer = true }; /* drivers optimise; and no second validation */
    glslang_program_SPIRV_generate_with_options(program, GLSLANG_STAGE_COMPUTE, &options);
#else
    glslang_program_SPIRV_generate(program, GLSLANG_STAGE_COMPUTE);
#endif
    out->n = glslang_program_SPIRV_get_size(program);
    if (!out->n)
        return tf_fault_set(f, TUFF_E_COMPILER, "kernel %s: the compiler produced no code", name);
    if (!(out->words = malloc(out->n * sizeof *out->words)))
        return tf_fault_set(f, TUFF_E_MEMORY, "out of host memory for the code of kernel %s", name);
    glslang_program_SPIRV_get(program, out->words);
    return true;
}

bool tf_jit(const char *name, const char *glsl, tf_spirv *out, tf_fault *f)
{
    if (!start_compiler())
        return tf_fault_set(f, TUFF_E_COMPILER, "the shader compiler cannot be started");
    const glslang_input_t input = {
        .language = GLSLANG_SOURCE_GLSL, .stage = GLSLANG_STAGE_COMPUTE, .client = GLSLANG_CLIENT_VULKAN,
        .client_version = GLSLANG_TARGET_VULKAN_1_1, .target_language = GLSLANG_TARGET_SPV,
        .target_language_version = GLSLANG_TARGET_SPV_1_3, .code = glsl, .default_version = 450,
        .default_profile = GLSLANG_NO_PROFILE, .resource = &ceilings,
        .messages = GLSLANG_MSG_SPV_RULES_BIT | GLSLANG_MSG_VULKAN_RULES_BIT,
    };
    const int rules = GLSLANG_MSG_SPV_RULES_BIT | GLSLANG_MSG_VULKAN_RULES_BIT;
    glslang_shader_t *shader = glslang_shader_create(&input);
    glslang_program_t *program = glslang_program_create();
    bool ok = false;
    if (!shader || !program)
        tf_fault_set(f, TUFF_E_MEMORY, "out of host memory for compiling kernel %s", name);
    else if (!glslang_shader_preprocess(shader, &input) || !glslang_shader_parse(shader, &input))
        report(f, name, glsl, glslang_shader_get_info_log(shader));
    else {
        glslang_program_add_shader(program, shader);
        if (!glslang_program_link(program, rules))
            report(f, name, glsl, glslang_program_get_info_log(program));
        else
            ok = generate(program, name, out, f);
    }
    if (program)
        glslang_program_delete(program);
    if (shader)
        glslang_shader_delete(shader);
    return ok;
}

#else

const char *tf_jit_version(void) { return NULL; }
bool tf_jit_matrices(void) { return true; }

bool tf_jit(const char *name, const char *glsl, tf_spirv *out, tf_fault *f)
{
    (void)glsl;
    (void)out;
    return tf_fault_set(f, TUFF_E_UNSUPPORTED, "kernel %s is not in the cache, and this build of tuff has no shader compiler: load a capsule, or fill the cache directory with a build that has one", name);
}

#endif
