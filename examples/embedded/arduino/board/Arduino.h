/* The part of Arduino's interface that the sketch uses, for the emulated board: a core of its own, as a board's maker would supply. */
#pragma once
#include <stdint.h>

struct Uart {
    void begin(unsigned long baud);
    void println(const char *line);
};
extern Uart Serial;

void delay(unsigned long milliseconds);
void setup();
void loop();
