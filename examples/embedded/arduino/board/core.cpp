/* An Arduino core for Arm's MPS2 board: the first UART, and a main that ends after one loop, so that the emulator does. */
#include "Arduino.h"

struct Registers { volatile uint32_t data, state, control; };
static Registers *const uart = reinterpret_cast<Registers *>(0x40004000);
Uart Serial;

static void put(char c)
{
    while (uart->state & 1) { }
    uart->data = static_cast<unsigned char>(c);
}

void Uart::begin(unsigned long) { uart->control = 1; }

void Uart::println(const char *line)
{
    while (*line) put(*line++);
    put('\r');
    put('\n');
}

void delay(unsigned long) { }

extern "C" int main(void)
{
    setup();
    loop();
    return 0;
}
