/* tsc.c - prints "tsc WORD: <time stamp counter>" and, if asked, the same for a loop; needs no C library. */
static long write_out(const char *text, long length)
{
    long result = 1; /* SYS_write */
    __asm__ volatile("syscall" : "+a"(result) : "D"(1L), "S"(text), "d"(length) : "rcx", "r11", "memory");
    return result;
}

static long text_length(const char *text)
{
    long length = 0;
    while (text[length])
        length++;
    return length;
}

__attribute__((used, noreturn)) static void main_program(long *stack)
{
    unsigned int low, high;
    char digits[24];
    int at = (int)sizeof digits;

    __asm__ volatile("lfence; rdtsc" : "=a"(low), "=d"(high) : : "memory");
    unsigned long now = (unsigned long)high << 32 | low;
    digits[--at] = '\n';
    do
        digits[--at] = (char)('0' + now % 10);
    while (now /= 10);

    const char *word = stack[0] > 1 ? (const char *)stack[2] : "now";
    write_out("tsc ", 4);
    write_out(word, text_length(word));
    write_out(": ", 2);
    write_out(digits + at, (long)sizeof digits - at);
    __asm__ volatile("syscall" : : "a"(60L), "D"(0L) : "memory"); /* SYS_exit */
    __builtin_unreachable();
}

__asm__(".globl _start\n_start: mov %rsp, %rdi\n and $-16, %rsp\n call main_program\n");
