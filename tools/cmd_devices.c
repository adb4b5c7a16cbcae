/* cmd_devices.c - `tuff devices`: what this machine has. */
#include "tool.h"

#include "runtime/caps.h"
#include "runtime/device.h"

static int run(const void *options)
{
    const tool_common *common = options;
    const tuff_device_desc desc = tool_device_desc(common);
    tf_str out;
    tf_str_init(&out, NULL);
    const tuff_status status = tf_devices_print(&desc, &out);
    if (!status && out.data) fputs(out.data, stdout);
    if (status) tool_error("%s", tuff_device_error(NULL));
    tf_str_release(&out);
    return status ? TOOL_FAILED : TOOL_OK;
}

#define TIER(name, text, fields) "  " name ": " text "\n"
#define SWITCH(name, text, normal) "  " #name ": " text "\n"
#define LIMIT(name, text) "  " #name ": " text "\n"

const tool_command tool_devices = {
    .name = "devices", .usage = "[options]", .doc = "every Vulkan device: its limits, tiers, and the quirks that apply to it",
    .more = "Limits and toggles given on the command line or in the environment are applied to what is shown.\n\n"
            "Toggles, +name or -name:\n" TF_TIERS(TIER) TF_SWITCHES(SWITCH) "\nLimits, name=number (64, 16K, 1M):\n" TF_LIMITS(LIMIT),
    .options_size = sizeof(tool_common), .run = run,
};
