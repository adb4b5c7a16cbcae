/* port.c - what a program shows by name: inputs, outputs, states, scalars, dims; and tensors in the application's
 * buffers. Every refusal names the tensor, what was given and what fits. */
#include "program.h"

#include <math.h>
#include <string.h>

#include <tuff/tuff_vulkan.h>

static const char *const kind_names[] = { "an input", "an output", "a state", "a constant", "a scalar" };

/* ---- finding ------------------------------------------------------------------------------------ */

static bool unknown(tuff_program *p, const char *name, const char *what, unsigned kinds)
{
    const char *names[64];
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->plan->ports.n && n < TF_COUNT(names); i++)
        if (p->plan->ports.data[i].name && kinds >> p->plan->ports.data[i].kind & 1)
            names[n++] = p->plan->ports.data[i].name;
    const char *near = tf_suggest(name, names, n);
    return tf_fault_set(&p->fault, TUFF_E_NAME, "the program has no %s named \"%s\"%s%s%s", what, name, near ? "; did you mean \"" : "",
                        near ? near : "", near ? "\"?" : "");
}

/* The port of one of the kinds (bit 1 << kind), or NULL with a text; what: for the text. */
static const tf_plan_port *find_port(tuff_program *p, const char *name, unsigned kinds, const char *what)
{
    const tf_plan_port *other = NULL;
    if (!name)
        return tf_fault_set(&p->fault, TUFF_E_ARGUMENT, "the name of a tensor is NULL"), NULL;
    for (uint32_t i = 0; i < p->plan->ports.n; i++) {
        const tf_plan_port *port = &p->plan->ports.data[i];
        if (!port->name || strcmp(port->name, name) != 0)
            continue;
        if (kinds >> port->kind & 1)
            return port;
        other = port;
    }
    if (other)
        tf_fault_set(&p->fault, TUFF_E_NAME, "\"%s\" is %s, not %s %s", name, kind_names[other->kind], strchr("aeiou", what[0]) ? "an" : "a", what);
    else
        unknown(p, name, what, kinds);
    return NULL;
}

static tf_port_state *state_of(const tuff_program *p, const tf_plan_port *port) { return &p->ports[port - p->plan->ports.data]; }

/* "input "x" f32[2,3]" */
static void describe_port(const tuff_program *p, const tf_plan_port *port, const int64_t *dims, char *out, size_t size)
{
    tf_str s;
    tf_str_init(&s, &p->dev->allocator);
    tf_str_printf(&s, "%s \"%s\" %s[", strchr(kind_names[port->kind], ' ') + 1, port->name, tuff_dtype_name(port->type.dtype));
    for (int32_t i = 0; i < port->type.rank; i++)
        tf_str_printf(&s, "%s%lld", i ? "," : "", (long long)tf_plan_dim(p->plan, port->type.dim[i], dims));
    tf_str_add(&s, "]");
    tf_str_deliver(&s, out, size);
    tf_str_release(&s);
}

static bool exact_bytes(tuff_program *p, const tf_plan_port *port, const int64_t *dims, const void *data, size_t bytes)
{
    char text[256];
    const uint64_t want = tf_plan_bytes(p->plan, &port->type, dims);
    if (bytes == want && (data || !bytes))
        return true;
    describe_port(p, port, dims, text, sizeof text);
    if (bytes == want)
        return tf_fault_set(&p->fault, TUFF_E_ARGUMENT, "the data for %s is NULL", text);
    return tf_fault_set(&p->fault, TUFF_E_ARGUMENT, "%s takes %llu bytes, %llu were given", text, (unsigned long long)want, (unsigned long long)bytes);
}

/* ---- before a run ------------------------------------------------------------------------------- */

static bool input_missing(tuff_program *p, const tf_plan_port *port)
{
    char text[256];
    describe_port(p, port, p->dims, text, sizeof text);
    if (!state_of(p, port)->written_bytes)
        return tf_fault_set(&p->fault, TUFF_E_STATE, "%s was never written", text);
    return tf_fault_set(&p->fault, TUFF_E_STATE, "%s was written with %llu bytes, before a dim changed; write it again", text,
                        (unsigned long long)state_of(p, port)->written_bytes);
}

bool tf_program_can_run(tuff_program *p)
{
    if (!tf_device_alive(p->dev, &p->fault))
        return false;
    for (uint32_t i = 0; p->inputs_missing && i < p->plan->ports.n; i++) {
        const tf_plan_port *port = &p->plan->ports.data[i];
        if (port->kind != TF_PORT_INPUT || p->places[port->buffer].external)
            continue;
        const uint64_t bytes = tf_plan_bytes(p->plan, &port->type, p->dims);
        if (bytes && p->ports[i].written_bytes != bytes)
            return input_missing(p, port);
    }
    p->inputs_missing = false;
    return tf_program_allocate(p);
}

/* ---- bytes -------------------------------------------------------------------------------------- */

static bool write(tuff_program *p, const char *name, const void *data, size_t bytes)
{
    const tf_plan_port *port = find_port(p, name, 1u << TF_PORT_INPUT | 1u << TF_PORT_STATE | 1u << TF_PORT_CONST, "input or state");
    if (!port || !tf_device_alive(p->dev, &p->fault) || !exact_bytes(p, port, p->dims, data, bytes))
        return false;
    const tf_tensor_place *at = &p->places[port->buffer];
    if (port->kind == TF_PORT_CONST && at->object && at->object->refs > 1)
        return tf_fault_set(&p->fault, TUFF_E_STATE, "constant \"%s\" is shared with another program and cannot be written", name);
    if (bytes && !tf_buffer_write(p, port->buffer, data, bytes))
        return false;
    state_of(p, port)->written_bytes = bytes;
    return true;
}

tuff_status tuff_write(tuff_program *p, const char *name, const void *data, size_t bytes)
{
    if (!p)
        return TUFF_E_ARGUMENT;
    return write(p, name, data, bytes) ? TUFF_OK : p->fault.status;
}

static bool read(tuff_program *p, const char *name, void *data, size_t bytes)
{
    const tf_plan_port *port = find_port(p, name, 1u << TF_PORT_OUTPUT | 1u << TF_PORT_STATE, "output or state");
    if (!port || !tf_device_alive(p->dev, &p->fault))
        return false;
    if (port->kind == TF_PORT_OUTPUT && !p->ran)
        return tf_fault_set(&p->fault, TUFF_E_STATE, "output \"%s\" has no value before the first run", name);
    /* An output has the size of the run that made it. */
    if (!exact_bytes(p, port, port->kind == TF_PORT_OUTPUT ? p->run_dims : p->dims, data, bytes))
        return false;
    const uint64_t last = atomic_load(&p->last);
    if (last && !tf_wait(p->dev, last, UINT64_MAX, &p->fault)) /* a cancelled run ends too */
        return false;
    return !bytes || tf_buffer_read(p, port->buffer, data, bytes);
}

tuff_status tuff_read(tuff_program *p, const char *name, void *data, size_t bytes)
{
    if (!p)
        return TUFF_E_ARGUMENT;
    return read(p, name, data, bytes) ? TUFF_OK : p->fault.status;
}

tuff_status tuff_reset(tuff_program *p, const char *state)
{
    if (!p)
        return TUFF_E_ARGUMENT;
    if (!tf_device_alive(p->dev, &p->fault))
        return p->fault.status;
    if (state) {
        const tf_plan_port *port = find_port(p, state, 1u << TF_PORT_STATE, "state");
        return port && tf_buffer_zero(p, port->buffer) ? TUFF_OK : p->fault.status;
    }
    for (uint32_t i = 0; i < p->plan->ports.n; i++)
        if (p->plan->ports.data[i].kind == TF_PORT_STATE && !tf_buffer_zero(p, p->plan->ports.data[i].buffer))
            return p->fault.status;
    return TUFF_OK;
}

tuff_status tuff_describe(const tuff_program *p, const char *name, size_t *bytes, tuff_dtype *dtype, tuff_shape *shape)
{
    if (!p || !name)
        return TUFF_E_ARGUMENT;
    for (uint32_t i = 0; i < p->plan->ports.n; i++) {
        const tf_plan_port *port = &p->plan->ports.data[i];
        if (!port->name || strcmp(port->name, name) != 0)
            continue;
        if (bytes)
            *bytes = (size_t)tf_plan_bytes(p->plan, &port->type, p->dims);
        if (dtype)
            *dtype = port->type.dtype;
        if (shape) {
            *shape = (tuff_shape){ .rank = port->type.rank };
            for (int32_t k = 0; k < port->type.rank; k++)
                shape->dim[k] = tf_plan_dim(p->plan, port->type.dim[k], p->dims);
        }
        return TUFF_OK;
    }
    return TUFF_E_NAME;
}

/* ---- numbers ------------------------------------------------------------------------------------ */

static bool set_dim(tuff_program *p, const char *name, int64_t value)
{
    const char *names[64];
    const uint32_t n = p->plan->dim_params.n;
    for (uint32_t i = 0; i < n; i++) {
        const tf_dim_param *d = &p->plan->dim_params.data[i];
        if (i < TF_COUNT(names))
            names[i] = d->name;
        if (!name || strcmp(d->name, name) != 0)
            continue;
        if (value < 0 || value > d->max)
            return tf_fault_set(&p->fault, TUFF_E_ARGUMENT, "dim \"%s\" is between 0 and %lld, %lld was given", name, (long long)d->max, (long long)value);
        if (p->dims[i] != value) {
            p->dims[i] = value;
            p->dims_version++;
            p->inputs_missing = true; /* sizes may have changed: look again */
        }
        return true;
    }
    if (!name)
        return tf_fault_set(&p->fault, TUFF_E_ARGUMENT, "the name of a dim is NULL");
    const char *near = tf_suggest(name, names, TF_MIN(n, (uint32_t)TF_COUNT(names)));
    return tf_fault_set(&p->fault, TUFF_E_NAME, "the program has no dim named \"%s\"%s%s%s", name, near ? "; did you mean \"" : "",
                        near ? near : "", near ? "\"?" : "");
}

tuff_status tuff_set_dim(tuff_program *p, const char *name, int64_t value)
{
    if (!p)
        return TUFF_E_ARGUMENT;
    return set_dim(p, name, value) ? TUFF_OK : p->fault.status;
}

bool tf_scalar_bits(tuff_dtype t, double v, uint32_t *bits)
{
    if (t == TUFF_F32) {
        const float f = (float)v;
        memcpy(bits, &f, sizeof f);
        return true;
    }
    const double lo = t == TUFF_I32 ? -2147483648.0 : 0.0, hi = t == TUFF_I32 ? 2147483647.0 : 4294967295.0;
    if (!(v >= lo && v <= hi) || v != floor(v))
        return false;
    *bits = t == TUFF_I32 ? (uint32_t)(int32_t)v : (uint32_t)v;
    return true;
}

static bool set_scalar(tuff_program *p, const char *name, double value)
{
    uint32_t bits;
    const tf_plan_port *port = find_port(p, name, 1u << TF_PORT_SCALAR, "scalar");
    if (!port)
        return false;
    if (!tf_scalar_bits(port->type.dtype, value, &bits))
        return tf_fault_set(&p->fault, TUFF_E_ARGUMENT, "scalar \"%s\" is of type %s and cannot be %.17g", name, tuff_dtype_name(port->type.dtype), value);
    if (state_of(p, port)->scalar != bits) {
        state_of(p, port)->scalar = bits;
        p->scalars_version++;
    }
    return true;
}

tuff_status tuff_set_scalar(tuff_program *p, const char *name, double value)
{
    if (!p)
        return TUFF_E_ARGUMENT;
    return set_scalar(p, name, value) ? TUFF_OK : p->fault.status;
}

/* ---- the application's buffers -------------------------------------------------------------------- */

enum { TENSORS = 1u << TF_PORT_INPUT | 1u << TF_PORT_OUTPUT | 1u << TF_PORT_STATE };

static bool bind_buffer(tuff_program *p, const char *name, VkBuffer buffer, uint64_t offset, uint64_t range)
{
    const tf_plan_port *port = find_port(p, name, TENSORS, "input, output or state");
    if (!port)
        return false;
    const tf_buffer *b = &p->plan->buffers.data[port->buffer];
    tf_tensor_place *at = &p->places[port->buffer];
    const uint64_t need = tf_align_up(b->bytes, 4), align = p->dev->caps.limits.storage_align;
    if (b->kind == TF_BUF_ARENA || b->kind == TF_BUF_CONST)
        return tf_fault_set(&p->fault, TUFF_E_STATE, "\"%s\" is %s here and cannot be bound", name, b->kind == TF_BUF_CONST ? "a constant" : "an intermediate tensor");
    if (at->object && at->object->refs > 1)
        return tf_fault_set(&p->fault, TUFF_E_STATE, "state \"%s\" is shared with another program and cannot be bound", name);
    if (buffer && (range < need || offset % align != 0))
        return tf_fault_set(&p->fault, TUFF_E_ARGUMENT, "\"%s\" needs %llu bytes at a multiple of %llu, the buffer has %llu at %llu", name,
                            (unsigned long long)need, (unsigned long long)align, (unsigned long long)range, (unsigned long long)offset);
    if (at->external == buffer && (!buffer || (at->offset == offset && at->range == range)))
        return true;
    /* What was written for one place does not move to the other. */
    tf_pending_forget(p, port->buffer);
    state_of(p, port)->written_bytes = 0;
    *at = (tf_tensor_place){ .object = at->object, .external = buffer, .offset = buffer ? offset : 0, .range = buffer ? range : 0 };
    p->bindings_version++;
    p->inputs_missing = true;
    p->ready = false; /* its own memory may be needed now */
    return true;
}

tuff_status tuff_bind_buffer(tuff_program *p, const char *name, VkBuffer buffer, VkDeviceSize offset, VkDeviceSize range)
{
    if (!p)
        return TUFF_E_ARGUMENT;
    return bind_buffer(p, name, buffer, offset, range) ? TUFF_OK : p->fault.status;
}

static bool get_buffer(tuff_program *p, const char *name, VkBuffer *buffer, VkDeviceSize *offset, VkDeviceSize *bytes)
{
    uint64_t at = 0;
    const tf_plan_port *port = find_port(p, name, TENSORS, "input, output or state");
    if (!port || !tf_device_alive(p->dev, &p->fault))
        return false;
    const tf_buffer *b = &p->plan->buffers.data[port->buffer];
    if (!b->bytes || b->kind == TF_BUF_ARENA) {
        if (!tf_program_allocate(p))
            return false;
    } else if (!tf_buffer_ensure(p, port->buffer))
        return false;
    tf_buffer_locate(p, port->buffer, buffer, &at);
    if (offset)
        *offset = at;
    if (bytes)
        *bytes = tf_plan_bytes(p->plan, &port->type, p->dims);
    return true;
}

tuff_status tuff_get_buffer(tuff_program *p, const char *name, VkBuffer *buffer, VkDeviceSize *offset, VkDeviceSize *bytes)
{
    if (!p)
        return TUFF_E_ARGUMENT;
    if (!buffer)
        return tf_fault_set(&p->fault, TUFF_E_ARGUMENT, "tuff_get_buffer: the place for the buffer is NULL"), TUFF_E_ARGUMENT;
    return get_buffer(p, name, buffer, offset, bytes) ? TUFF_OK : p->fault.status;
}

static bool record_image(tuff_program *p, VkCommandBuffer cmd, const char *name, const tuff_image_desc *d)
{
    VkBuffer buffer;
    VkDeviceSize offset, bytes;
    if (!get_buffer(p, name, &buffer, &offset, &bytes))
        return false;
    VkBufferImageCopy copy = { .bufferOffset = offset, .imageSubresource = d->subresource, .imageOffset = d->offset,
                               .imageExtent = { d->extent.width, TF_MAX(d->extent.height, 1), TF_MAX(d->extent.depth, 1) } };
    if (!copy.imageSubresource.aspectMask)
        copy.imageSubresource.aspectMask = VK_IMAGE_ASPECT_COLOR_BIT;
    copy.imageSubresource.layerCount = TF_MAX(copy.imageSubresource.layerCount, 1);
    uint64_t need = d->texel_bytes;
    const uint32_t counts[] = { copy.imageExtent.width, copy.imageExtent.height, copy.imageExtent.depth, copy.imageSubresource.layerCount };
    bool fits = true;
    for (size_t i = 0; i < TF_COUNT(counts); i++)
        fits = fits && tf_mul_u64(&need, need, counts[i]);
    if (!d->texel_bytes || !fits || need > bytes)
        return tf_fault_set(&p->fault, TUFF_E_ARGUMENT, "the image region takes %llu bytes (%u per texel), \"%s\" has %llu",
                            (unsigned long long)need, d->texel_bytes, name, (unsigned long long)bytes);
    p->dev->vk.CmdCopyBufferToImage(cmd, buffer, d->image, d->layout ? d->layout : VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL, 1, &copy);
    return true;
}

tuff_status tuff_record_image(tuff_program *p, VkCommandBuffer cmd, const char *name, const tuff_image_desc *desc)
{
    if (!p)
        return TUFF_E_ARGUMENT;
    if (!cmd || !desc || !desc->image)
        return tf_fault_set(&p->fault, TUFF_E_ARGUMENT, "tuff_record_image: the %s is NULL", !cmd ? "command buffer" : !desc ? "description" : "image"), TUFF_E_ARGUMENT;
    return record_image(p, cmd, name, desc) ? TUFF_OK : p->fault.status;
}
