/* What runs before main: the vector table, the float unit, the variables. After main the emulator is told to stop. */
#include <stdint.h>

extern uint32_t data_start, data_end, data_load, bss_start, bss_end, stack_top;
int main(void);

static void stop(int status)
{
    const uint32_t how[2] = {0x20026, (uint32_t)status};
    register uint32_t r0 __asm__("r0") = 0x20; /* SYS_EXIT_EXTENDED */
    register const uint32_t *r1 __asm__("r1") = how;
    __asm__ volatile("bkpt 0xAB" : : "r"(r0), "r"(r1) : "memory");
    for (;;) { }
}

void reset(void)
{
    *(volatile uint32_t *)0xE000ED88 |= 0xFu << 20; /* CPACR: the float unit is on */
    __asm__ volatile("dsb\nisb");
    for (uint32_t *to = &data_start, *from = &data_load; to < &data_end;) *to++ = *from++;
    for (uint32_t *to = &bss_start; to < &bss_end;) *to++ = 0;
    stop(main());
}

static void fault(void) { stop(99); }

__attribute__((used, section(".vectors"))) static const void *const vectors[16] = {
    &stack_top, (const void *)reset, (const void *)fault, (const void *)fault, (const void *)fault, (const void *)fault, (const void *)fault};
