/* A libcuda.so.1 for tests: one "GPU" whose memory is the host's and whose code is the model's kernels, by the shim. It plays the driver's
 * part faithfully where the library could go wrong: streams that are captured, graphs, functions by name, images that do not load.
 * Settings: CUDA_TEST_CC (90), CUDA_TEST_VERSION (13000), CUDA_TEST_DEVICES (1), CUDA_TEST_LOAD (result of loading cubins: 0),
 * CUDA_TEST_ORDER (of threads: 0), CUDA_TEST_REPORT (file that gets the counts). */
#define SHIM_ALONE
#include "shim_run.cpp"

namespace {
int setting(const char *name, int otherwise)
{
    const char *text = getenv(name);
    return text ? atoi(text) : otherwise;
}
struct recorded { launch what; void *arguments[64 + SIZES]; };
struct graph { recorded *items; int count; };
struct stream { graph *capture; };
struct { long launches, replays, graphs, allocated, freed, contexts, pushed; int ptx; } counts;
stream default_stream;
int ready;

void report()
{
    const char *path = getenv("CUDA_TEST_REPORT");
    FILE *f = path ? fopen(path, "w") : 0;
    if (!f) return;
    fprintf(f, "{\"launches\": %ld, \"replays\": %ld, \"graphs\": %ld, \"allocated\": %ld, \"freed\": %ld, \"contexts\": %ld, \"pushed\": %ld, \"ptx\": %d}\n", counts.launches,
        counts.replays, counts.graphs, counts.allocated, counts.freed, counts.contexts, counts.pushed, counts.ptx);
    fclose(f);
}
stream *of(void *s) { return s ? (stream *)s : &default_stream; }
void perform(const recorded *r) { shim_launch(&r->what, r->arguments, (uint32_t)setting("CUDA_TEST_ORDER", 0)); }
}

extern "C" {
#define API __attribute__((visibility("default"))) int
API cuInit(unsigned)
{
    if (!ready) atexit(report);
    ready = 1;
    return setting("CUDA_TEST_DEVICES", 1) ? 0 : 100;
}
API cuDriverGetVersion(int *v) { *v = setting("CUDA_TEST_VERSION", 13000); return 0; }
API cuGetErrorString(int r, const char **text) { *text = r == 2 ? "out of memory" : "an error"; return 0; }
API cuDeviceGetCount(int *n) { *n = setting("CUDA_TEST_DEVICES", 1); return 0; }
API cuDeviceGet(int *d, int n) { *d = n; return 0; }
API cuDeviceGetName(char *to, int size, int) { snprintf(to, (size_t)size, "Test GPU"); return 0; }
API cuDeviceGetAttribute(int *v, int which, int)
{
    const int cc = setting("CUDA_TEST_CC", 90);
    *v = which == 75 ? cc / 10 : cc % 10;
    return 0;
}
API cuDevicePrimaryCtxRetain(void **c, int) { counts.contexts++; *c = &counts; return 0; }
API cuDevicePrimaryCtxRelease_v2(int) { counts.contexts--; return 0; }
API cuCtxPushCurrent_v2(void *) { counts.pushed++; return 0; }
API cuCtxPopCurrent_v2(void **) { counts.pushed--; return 0; }
API cuModuleLoadData(void **m, const void *image)
{
    const bool cubin = !memcmp(image, "\177ELF", 4);
    if (cubin && setting("CUDA_TEST_LOAD", 0)) return setting("CUDA_TEST_LOAD", 0);
    if (!cubin && setting("CUDA_TEST_LOAD", 0) > 200) return 222;
    counts.ptx = !cubin;
    *m = &default_stream;
    return 0;
}
API cuModuleUnload(void *) { return 0; }
API cuModuleGetFunction(void **f, void *, const char *name)
{
    for (intptr_t i = 0; i < KERNELS; i++)
        if (!strcmp(kernel_names[i], name)) {
            *f = (void *)(i + 1);
            return 0;
        }
    return 500;
}
API cuFuncSetAttribute(void *, int, int bytes) { return bytes <= (int)sizeof shared ? 0 : 1; }
API cuMemAlloc_v2(unsigned long long *p, size_t bytes)
{
    counts.allocated++;
    void *memory = aligned_alloc(256, (bytes + 255) / 256 * 256);
    memset(memory, 0xCD, bytes);
    *p = (uintptr_t)memory;
    return 0;
}
API cuMemFree_v2(unsigned long long p) { counts.freed++; free((void *)(uintptr_t)p); return 0; }
API cuMemcpyHtoDAsync_v2(unsigned long long to, const void *from, size_t n, void *) { memcpy((void *)(uintptr_t)to, from, n); return 0; }
API cuMemcpyDtoHAsync_v2(void *to, unsigned long long from, size_t n, void *) { memcpy(to, (void *)(uintptr_t)from, n); return 0; }
API cuStreamCreate(void **s, unsigned) { *s = calloc(1, sizeof(stream)); return 0; }
API cuStreamDestroy_v2(void *s) { free(s); return 0; }
API cuStreamSynchronize(void *) { return 0; }
API cuStreamIsCapturing(void *s, int *answer) { *answer = of(s)->capture != 0; return 0; }
API cuStreamBeginCapture_v2(void *s, int)
{
    if (!s || of(s)->capture) return 900;
    of(s)->capture = (graph *)calloc(1, sizeof(graph));
    return 0;
}
API cuStreamEndCapture(void *s, void **g)
{
    *g = of(s)->capture;
    of(s)->capture = 0;
    return *g ? 0 : 901;
}
API cuGraphInstantiateWithFlags(void **exec, void *g, unsigned long long)
{
    const graph *from = (const graph *)g;
    graph *copy = (graph *)calloc(1, sizeof(graph));
    copy->count = from->count;
    copy->items = (recorded *)malloc(sizeof(recorded) * (size_t)(from->count + 1));
    if (from->count) memcpy(copy->items, from->items, sizeof(recorded) * (size_t)from->count);
    *exec = copy;
    counts.graphs++;
    return 0;
}
API cuGraphDestroy(void *g) { free(((graph *)g)->items); free(g); return 0; }
API cuGraphExecDestroy(void *g) { counts.graphs--; return cuGraphDestroy(g); }
API cuGraphLaunch(void *exec, void *)
{
    const graph *g = (const graph *)exec;
    for (int i = 0; i < g->count; i++) perform(&g->items[i]);
    counts.replays++;
    return 0;
}
API cuLaunchKernel(void *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned bytes, void *s, void **arguments, void **)
{
    const uint32_t kernel = (uint32_t)(uintptr_t)f - 1;
    const launch *known = 0;
    const launch_plan *const all = &LARGEST;
    for (int i = 0; i < LAUNCHES; i++) if (all->launches[i].kernel == kernel) known = &all->launches[i];
    if (!known || gy != 1 || gz != 1 || by != 1 || bz != 1 || bytes > sizeof shared) return 1;
    recorded r = {*known, {}};
    r.what.blocks = gx, r.what.threads = bx, r.what.shared = bytes;
    for (uint32_t n = 0; n < known->count; n++) r.arguments[n] = (void *)(uintptr_t)*(unsigned long long *)arguments[n];
    for (uint32_t i = 0; i < SIZES; i++) r.arguments[known->count + i] = (void *)(intptr_t)*(int32_t *)arguments[known->count + i];
    counts.launches++;
    graph *capture = of(s)->capture;
    if (!capture) {
        perform(&r);
        return 0;
    }
    capture->items = (recorded *)realloc(capture->items, sizeof(recorded) * (size_t)(capture->count + 1));
    capture->items[capture->count++] = r;
    return 0;
}
}
