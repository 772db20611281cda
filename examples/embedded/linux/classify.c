/* classify PICTURE.ppm: is a line of text upright or upside down? The picture is 192 × 48 pixels, binary PPM. */
#include "cls.h"
#include <stdio.h>
#include <stdlib.h>

enum { WIDTH = 192, HEIGHT = 48, PIXELS = WIDTH * HEIGHT };

static int read_picture(const char *path, float *planes)
{
    static unsigned char raw[PIXELS * 3];
    FILE *f = fopen(path, "rb");
    int width = 0, height = 0, most = 0;
    if (!f) {
        perror(path);
        return 0;
    }
    const int good = fscanf(f, "P6 %d %d %d", &width, &height, &most) == 3 && width == WIDTH && height == HEIGHT && most == 255 && fgetc(f) != EOF
        && fread(raw, 1, sizeof raw, f) == sizeof raw;
    fclose(f);
    if (!good) {
        fprintf(stderr, "%s: no binary PPM of %d x %d pixels\n", path, WIDTH, HEIGHT);
        return 0;
    }
    for (int c = 0; c < 3; c++)
        for (int i = 0; i < PIXELS; i++) planes[c * PIXELS + i] = (float)raw[3 * i + c] / 127.5f - 1.0f;
    return 1;
}

int main(int argc, char **argv)
{
    static float picture[3 * PIXELS];
    float turned[2];
    if (argc != 2) {
        fprintf(stderr, "usage: %s PICTURE.ppm\n", argv[0]);
        return 2;
    }
    void *workspace = aligned_alloc(64, (cls_workspace_bytes() + 63) / 64 * 64);
    if (!workspace || !read_picture(argv[1], picture)) {
        free(workspace);
        return 1;
    }
    const cls_inputs in = {picture};
    const cls_outputs out = {turned};
    const int status = cls_run(&in, &out, workspace);
    free(workspace);
    if (status != CLS_OK) {
        fprintf(stderr, "the model did not run: %d\n", status);
        return 1;
    }
    printf("%s\n", turned[1] > turned[0] ? "upside down" : "upright");
    return 0;
}
