SUMMARY = "Is a line of text upright or upside down?"
LICENSE = "CLOSED"

# The program, and the artifact of `mlcc build cls.onnx --target c99`: put it at files/model, once `mlcc verify` has accepted it.
FILESEXTRAPATHS:prepend := "${THISDIR}/files:${THISDIR}/../../../../linux:"
SRC_URI = "file://classify.c file://Makefile file://model"

S = "${UNPACKDIR}"

do_compile() {
    oe_runmake MODEL=model
}

do_install() {
    oe_runmake install MODEL=model DESTDIR=${D} prefix=${prefix}
}
