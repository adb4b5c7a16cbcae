/* snapshot.h - asking a physical device what it is and what of it is enabled. */
#ifndef TF_SNAPSHOT_H
#define TF_SNAPSHOT_H

#include <tuff/tuff_vulkan.h>

#include "caps.h"

/* instance_api: the version the instance was created for. Fills everything but what depends on enabled features
 * (the bools) and returns the supported features and extensions in *supported, chained. */
bool tf_snapshot_read(const tf_vk *vk, VkPhysicalDevice physical, uint32_t instance_api, const tuff_allocator *a,
                      tf_snapshot *s, tuff_requirements *supported, tf_fault *f);
/* Reduce a chain of supported features to those the library uses. */
void tf_requirements_reduce(tuff_requirements *r);
/* Set the bools of s from features that are enabled. */
void tf_snapshot_enable(tf_snapshot *s, const void *chain, const VkPhysicalDeviceFeatures *core,
                        const char *const *extensions, uint32_t extension_count);
/* A queue family with compute, better one without graphics; UINT32_MAX: none. */
uint32_t tf_compute_family(const tf_vk *vk, VkPhysicalDevice physical);

#endif
