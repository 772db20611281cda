/* A bare-metal program for a Cortex-M4F board (Arm MPS2, AN386): is a line of text upright or upside down? It prints its answer on the
 * first UART. No operating system, no heap, no C library: start-up code, the model's library and this file. */
#include "cls.h"
#include "input.h" /* made from a picture by picture.py: static const float input_x[3 * 48 * 192] */

#ifdef FROM_SLOT
#include "cls_module.h"
#endif

typedef struct { volatile uint32_t data, state, control; } uart;
#define UART ((uart *)0x40004000)

static void say(const char *s)
{
    UART->control = 1; /* transmit */
    for (; *s; s++) {
        while (UART->state & 1) { }
        UART->data = (uint32_t)(unsigned char)*s;
    }
}

static void say_number(uint32_t n)
{
    char digits[12], *p = digits + sizeof digits;
    *--p = 0;
    do *--p = (char)('0' + n % 10);
    while (n /= 10);
    say(p);
}

static uint8_t workspace[CLS_WORKSPACE_BYTES] __attribute__((aligned(64)));

int main(void)
{
    float turned[2];
    int status;
#ifdef FROM_SLOT
    /* The model lies in a flash slot of its own, put there by an update; the boot loader has checked its signature. */
    const cls_module *module;
    status = cls_module_open(&module, sizeof workspace, 1u << 24);
    if (status) {
        say("no usable model in the slot: ");
        say_number((uint32_t)status);
        say("\n");
        return 1;
    }
    say("model version ");
    say_number(module->version >> 24);
    say(".");
    say_number(module->version >> 16 & 255);
    say("\n");
    const void *inputs[] = {input_x};
    void *outputs[] = {turned};
    status = module->run(inputs, outputs, workspace);
#else
    const cls_inputs in = {input_x};
    const cls_outputs out = {turned};
    status = cls_run(&in, &out, workspace);
#endif
    if (status) return status;
    say(turned[1] > turned[0] ? "upside down, " : "upright, ");
    say_number((uint32_t)((turned[1] > turned[0] ? turned[1] : turned[0]) * 1000.0f));
    say(" per mille sure\n");
    return 0;
}
