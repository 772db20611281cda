/* Links a built model: checks it on this machine, then runs it once on two threads. All memory is the program's own. */
#include "small.h"
#include <stdio.h>
#include <stdlib.h>

int main(void) {
    void *memory = malloc(small_selftest_bytes());
    if (!memory) return 1;
    if (small_selftest(memory) != SMALL_OK) {
        puts("self-test FAILED");
        return 1;
    }
    puts("self-test passed: the outputs have the bits that the reference computed");
    free(memory);

    static float x[1 * 3 * 8 * 8], y[10];
    for (int i = 0; i < 192; i++) x[i] = (float)(i % 7) * 0.25f - 0.5f;
    void *workspace = malloc(small_workspace_bytes()), *pool = small_pool_create(2);
    small_inputs in = {x};
    small_outputs out = {y};
    if (!workspace || small_run_parallel(&in, &out, workspace, pool ? small_pool_for : NULL, pool)) return 1;
    for (int i = 0; i < 10; i++) printf("%d: %.6f\n", i, y[i]);
    small_pool_destroy(pool);
    free(workspace);
    return 0;
}
