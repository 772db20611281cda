"""Names in C for a model and its tensors."""

from __future__ import annotations

import re
from collections.abc import Sequence

# of C23 and C++23, since headers serve both
KEYWORDS = frozenset(
    re.findall(
        r"\w+",
        """alignas alignof and and_eq asm auto bitand bitor bool break case catch char char8_t char16_t char32_t class co_await co_return co_yield compl
    concept const const_cast consteval constexpr constinit continue decltype default delete do double dynamic_cast else enum explicit export
    extern false float for friend goto if inline int long mutable namespace new noexcept not not_eq nullptr operator or or_eq private protected
    public register reinterpret_cast requires restrict return short signed sizeof static static_assert static_cast struct switch template this
    thread_local throw true try typedef typeid typename typeof typeof_unqual union unsigned using virtual void volatile wchar_t while xor
    xor_eq""",
    )
)


# of SystemVerilog (IEEE 1800-2017, annex B), beyond those above
HARDWARE_KEYWORDS = frozenset(
    re.findall(
        r"\w+",
        """accept_on alias always always_comb always_ff always_latch assert assign assume automatic before begin bind bins binsof bit buf bufif0 bufif1 byte
    casex casez cell chandle checker clocking cmos config constraint context cover covergroup coverpoint cross deassign defparam design disable
    dist edge end endcase endchecker endclass endclocking endconfig endfunction endgenerate endgroup endinterface endmodule endpackage
    endprimitive endprogram endproperty endsequence endspecify endtable endtask event eventually expect extends final first_match force foreach
    forever fork forkjoin function generate genvar global highz0 highz1 iff ifnone ignore_bins illegal_bins implements implies import incdir include
    initial inout input inside instance integer interconnect interface intersect join join_any join_none large let liblist library local
    localparam logic longint macromodule matches medium modport module nand negedge nettype nexttime nmos nor noshowcancelled notif0 notif1 null output
    package packed parameter pmos posedge primitive priority program property pull0 pull1 pulldown pullup pulsestyle_ondetect
    pulsestyle_onevent pure rand randc randcase randsequence rcmos real realtime ref reg reject_on release repeat restrict rnmos rpmos rtran
    rtranif0 rtranif1 s_always s_eventually s_nexttime s_until s_until_with scalared sequence shortint shortreal showcancelled small soft solve
    specify specparam string strong strong0 strong1 super supply0 supply1 sync_accept_on sync_reject_on table tagged task throughout time
    timeprecision timeunit tran tranif0 tranif1 tri tri0 tri1 triand trior trireg type unique unique0 until until_with untyped use uwire
    var vectored virtual wait wait_order wand weak weak0 weak1 wildcard wire with within wor xnor""",
    )
)


def module_name(name: str) -> str:
    """A name for a module of SystemVerilog, close to a model's."""
    text = identifier(name)
    return f"m_{text}" if text in HARDWARE_KEYWORDS else text


def identifier(name: str) -> str:
    """An identifier in C and C++ close to a model's or tensor's name."""
    text = re.sub(r"\W", "_", name)
    return text if text and not text[0].isdigit() and text not in KEYWORDS else f"m_{text}"


def comment(text: str) -> str:
    """A text that may stand in a C comment."""
    return text.replace("*/", "").replace("\\", "/")


def unique(names: Sequence[str]) -> list[str]:
    """Identifiers for names, told apart where they collide."""
    found: list[str] = []
    for n in names:
        base = text = identifier(n)
        count = 2
        while text in found:
            text, count = f"{base}_{count}", count + 1
        found.append(text)
    return found
