"""Text of a model in other languages: the one place where names become identifiers, comments, strings and paths.

A model is a stranger's file: its names are data and nothing else (design.md, "What makes exact true", 7).
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from html import escape

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


# what C's and POSIX's headers, compilers and common builds define as macros, or as types that a member may not hide in C++
MACROS = re.compile(
    r"NULL|EOF|I|NAN|INFINITY|BUFSIZ|FILENAME_MAX|FOPEN_MAX|TMP_MAX|L_tmpnam|P_tmpdir|RAND_MAX|SIZE_MAX|MB_\w+|SEEK_\w+|EXIT_\w+|HUGE\w*|FP_\w+|M_\w+|MATH_\w+"
    r"|(FLT|DBL|LDBL|DECIMAL|CHAR|SCHAR|UCHAR|SHRT|USHRT|INT|UINT|LONG|ULONG|LLONG|ULLONG|PTRDIFF|WCHAR|WINT|SIG_ATOMIC|SSIZE|PATH|NAME|ARG|OPEN)_\w+"
    r"|U?INT(\d+|PTR|MAX|_LEAST\d+|_FAST\d+)_\w+|(PRI|SCN)\w+|E[A-Z0-9]+|SIG[A-Z0-9_]+|CLOCKS_PER_SEC|N?DEBUG|TRUE|FALSE|BOOL|MIN|MAX|ERROR|IN|OUT|PI|CONST|VOID"
    r"|ARDUINO|PROGMEM|F|B[01]+|HIGH|LOW|INPUT|OUTPUT|linux|unix|i386|arm|mips|sparc|sun|vax|errno|std(in|out|err)|assert|offsetof|alloca|true|false|complex|imaginary|min|max|abs"
    r"|major|minor|makedev|near|far|small|hyper|interface|environ|u?int(_least|_fast)?\d+_t|u?int(ptr|max)_t|s?size_t|ptrdiff_t|wchar_t|max_align_t|nullptr_t|byte|pascal|cdecl|stdcall"
)
# names of headers and libraries that others look for: a model called so would take their place on a search path
TAKEN = frozenset(
    re.findall(
        r"\w+",
        """assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdalign stdarg stdatomic stdbit stdbool stdckdint stddef
    stdint stdio stdlib stdnoreturn string tgmath threads time uchar wchar wctype unistd pthread fcntl poll sched semaphore dlfcn endian memory new
    internal weights main selftest firmware workspace module pool gcc gcc_s util dl rt atomic Arduino arm_acle arm_neon immintrin""",
    )
)
# how C's programs hold elements: half-width floats as their bits
C_TYPES = {
    "float32": "float",
    "float64": "double",
    "float16": "uint16_t",
    "bfloat16": "uint16_t",
    "bool": "uint8_t",
    **{f"{u}int{n}": f"{u}int{n}_t" for u in ("", "u") for n in (8, 16, 32, 64)},
}
LONGEST = 64  # characters of an identifier: prefixes and file names come on top
PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def module_name(name: str) -> str:
    """A name for a module of SystemVerilog, close to a model's."""
    text = identifier(name)
    return f"m_{text}" if text in HARDWARE_KEYWORDS else text


def identifier(name: str) -> str:
    """An identifier in C and C++ close to a model's or tensor's name: ASCII, no keyword, of bounded length."""
    text = re.sub(r"[^A-Za-z0-9_]", "_", name)
    if len(text) > LONGEST:
        text = f"{text[: LONGEST - 9]}_{hashlib.sha256(name.encode(errors='surrogatepass')).hexdigest()[:8]}"
    return text if PLAIN.fullmatch(text) and text not in KEYWORDS else f"m_{text}"


def member(name: str) -> str:
    """An identifier that stands alone in a header, so that no macro may have its name."""
    text = identifier(name)
    return f"m_{text}" if MACROS.fullmatch(text) else text


def library_name(name: str) -> str:
    """An identifier that may also name a header and a library."""
    text = identifier(name)
    return f"m_{text}" if text in TAKEN else text


def xml(text: str) -> str:
    """Text in XML and HTML, between tags or in a quoted attribute."""
    return escape(printable(text))


def printable(text: str, limit: int = 200) -> str:
    """A text on one line without control and direction characters, cut where it is long."""
    flat = "".join(" " if c.isspace() else c if unicodedata.category(c)[0] != "C" else "?" for c in text[: limit + 1])
    return flat if len(text) <= limit else f"{flat[:limit]}…"


def comment(text: str) -> str:
    """A text that may stand in a comment of C, C++, CUDA, OpenCL, SystemVerilog, Tcl, Make and Python: it neither ends nor continues
    one."""
    flat = printable(text).replace("\\", "/").replace("?" * 2, "? ?").replace('"' * 3, "'")
    return re.sub(r"\*(?=/)|/(?=\*)", r"\g<0> ", flat)


def markdown(text: str) -> str:
    """A text in Markdown, in a heading or in a table's cell."""
    return re.sub(r"[\\`*\[\]<>#|~&$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\\g<0>", printable(text, 4000))


def string(text: str) -> str:
    """A literal of C and C++, with its quotes, in UTF-8."""
    plain = "".join(" " if unicodedata.category(c)[0] == "C" else c for c in text).encode("utf-8", "replace")
    return '"' + "".join(f"\\{b:03o}" if b > 126 or b in b'"\\?' else chr(b) for b in plain) + '"'


def label(text: str) -> str:
    """A text that may stand between the quotes of any description: Kconfig, YAML, properties, JSON, TOML, shell."""
    return re.sub(r"[^A-Za-z0-9 ._-]", "_", text)[:100]


def quoted(text: str) -> str:
    """A basic string of TOML, with its quotes (TOML 1.0, "String")."""
    escaped = "".join(
        f"\\u{ord(c):04X}" if ord(c) < 0x20 or ord(c) == 0x7F else f"\\{c}" if c in '"\\' else c
        for c in text.encode("utf-8", "replace").decode()
    )
    return f'"{escaped}"'


def unique(names: Sequence[str]) -> list[str]:
    """Identifiers for names, told apart where they collide."""
    found: list[str] = []
    for n in names:
        base = text = member(n)
        count = 2
        while text in found:
            text, count = f"{base}_{count}", count + 1
        found.append(text)
    return found
