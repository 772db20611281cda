/* What compilers call on their own, for firmware without a C library. */
#include <stddef.h>
void *memcpy(void *to, const void *from, size_t n);
void *memmove(void *to, const void *from, size_t n);
void *memset(void *to, int value, size_t n);
size_t strlen(const char *s);
void *memcpy(void *to, const void *from, size_t n) { for (size_t i = 0; i < n; i++) ((volatile char *)to)[i] = ((const char *)from)[i]; return to; }
void *memmove(void *to, const void *from, size_t n)
{
    if ((const char *)to <= (const char *)from) return memcpy(to, from, n);
    for (size_t i = n; i > 0; i--) ((volatile char *)to)[i - 1] = ((const char *)from)[i - 1];
    return to;
}
void *memset(void *to, int value, size_t n) { for (size_t i = 0; i < n; i++) ((volatile char *)to)[i] = (char)value; return to; }
size_t strlen(const char *s) { size_t n = 0; while (((const volatile char *)s)[n]) n++; return n; }
