/* Is a line of text upright or upside down? Install the artifact's folder, built with --emit arduino, as a library; input.h, beside this
 * sketch, is made by picture.py. Needs a board with about half a megabyte of RAM, and of flash 1 MB (Portenta H7, Giga R1). */
#include <cls.h>
#include "input.h"

alignas(64) static uint8_t workspace[CLS_WORKSPACE_BYTES];

void setup()
{
    Serial.begin(115200);
}

void loop()
{
    float turned[2];
    const cls_inputs in = {input_x};
    const cls_outputs out = {turned};
    const int status = cls_run(&in, &out, workspace);
    if (status != CLS_OK) {
        Serial.println("the model did not run");
    } else if (turned[1] > turned[0]) {
        Serial.println("upside down");
    } else {
        Serial.println("upright");
    }
    delay(1000);
}
