/* A double of NVIDIA's driver for machines without one: every call becomes a line of text. The structures are cuda.h's. */
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct { unsigned id; char pad[4]; union { char bytes[64]; int programmatic; } value; } Attribute;
typedef struct {
  unsigned grid_x, grid_y, grid_z, block_x, block_y, block_z, shared_bytes;
  void *stream;
  Attribute *attributes;
  unsigned attribute_count;
} Configuration;

static char calls[1 << 16];
static int parameter_bytes[64], parameters, no_context, failing_code, version = 12000;
static char failing_call[64];

const char *fake_calls(void) { return calls; }
void fake_reset(void) { calls[0] = 0; no_context = failing_code = 0; failing_call[0] = 0; }
void fake_expect(const int *bytes, int count) { memcpy(parameter_bytes, bytes, count * sizeof(int)); parameters = count; }
void fake_lose_context(void) { no_context = 1; }
void fake_fail(const char *call, int code) { strcpy(failing_call, call); failing_code = code; }
void fake_version(int value) { version = value; }

static void note(const char *format, ...) {
  size_t used = strlen(calls);
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(calls + used, sizeof calls - used, format, arguments);
  va_end(arguments);
}

static int result_of(const char *call) { return strcmp(call, failing_call) ? 0 : failing_code; }

int cuInit(unsigned flags) { return result_of("cuInit"); }
int cuDriverGetVersion(int *found) { *found = version; return result_of("cuDriverGetVersion"); }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
  *value = 1000 * device + attribute;
  return result_of("cuDeviceGetAttribute");
}
int cuDevicePrimaryCtxRetain(void **context, int device) { *context = (void *)(intptr_t)(device + 1); return 0; }
int cuCtxSetCurrent(void *context) { note("context of GPU %d\n", (int)(intptr_t)context - 1); no_context = 0; return 0; }
int cuModuleLoadData(void **module, const void *image) {
  note("load %s\n", (const char *)image);
  *module = (void *)0x1100;
  return result_of("cuModuleLoadData");
}
int cuModuleGetFunction(void **function, void *module, const char *name) {
  note("function %s of %p\n", name, module);
  *function = (void *)0x7700000022;
  return result_of("cuModuleGetFunction");
}
int cuFuncSetCacheConfig(void *function, int preference) { note("cache %p %d\n", function, preference); return 0; }
int cuFuncSetAttribute(void *function, int attribute, int value) {
  note("attribute %p %d %d\n", function, attribute, value);
  return result_of("cuFuncSetAttribute");
}
int cuGetErrorName(int code, const char **text) { *text = "CUDA_ERROR_NAME"; return code == 999; }
int cuGetErrorString(int code, const char **text) { *text = "what the driver says"; return code == 999; }

int cuLaunchKernelEx(const Configuration *c, void *function, void **values, void **extra) {
  if (no_context) return 201;
  usleep(50); /* Python's other threads run meanwhile, and must not change what is read below. */
  note("launch %p grid %u %u %u block %u %u %u shared %u stream %p", function, c->grid_x, c->grid_y, c->grid_z, c->block_x,
       c->block_y, c->block_z, c->shared_bytes, c->stream);
  for (unsigned index = 0; index < c->attribute_count; index++)
    note(" attribute %u=%d", c->attributes[index].id, c->attributes[index].value.programmatic);
  note(extra ? " extra" : " values");
  for (int index = 0; index < parameters; index++) {
    uint64_t value = 0;
    if (parameter_bytes[index] == 128) {
      memcpy(&value, values[index], 8);
      note(" map:%llu/%d", (unsigned long long)value, (int)((uintptr_t)values[index] % 64));
      continue;
    }
    if ((uintptr_t)values[index] % parameter_bytes[index]) note(" misaligned");
    memcpy(&value, values[index], parameter_bytes[index]);
    note(" %llu", (unsigned long long)value);
  }
  note("\n");
  return result_of("cuLaunchKernelEx");
}

int cuTensorMapEncodeTiled(uint64_t *map, int type, uint32_t rank, void *address, const uint64_t *sizes,
                           const uint64_t *strides, const uint32_t *box, const uint32_t *element_strides, int interleave,
                           int swizzle, int promotion, int outside) {
  static uint64_t encoded;
  if ((uintptr_t)map % 64) return 1;
  map[0] = ++encoded;
  note("map %llu type %d at %p sizes", (unsigned long long)encoded, type, address);
  for (uint32_t index = 0; index < rank; index++) note(" %llu", (unsigned long long)sizes[index]);
  note(" strides");
  for (uint32_t index = 0; index + 1 < rank; index++) note(" %llu", (unsigned long long)strides[index]);
  note(" box");
  for (uint32_t index = 0; index < rank; index++) note(" %u by %u", box[index], element_strides[index]);
  note(" modes %d %d %d %d\n", interleave, swizzle, promotion, outside);
  return result_of("cuTensorMapEncodeTiled");
}
