# The option ROM of an image, for a processor in real mode (16 bits). `rom.rs` says what it is for and holds what `as`
# makes of this; a test there compares the two.

        .intel_syntax noprefix
        .code16

        .set    CMOS, 0x70              # which of its registers, and what is in it
        .set    CONTENT, 0x71
        .set    SERIAL, 0x3f8           # the first serial line
        .set    STATUS, 0x3fd           # its state: 0x01 a byte has come, 0x20 a byte can go; 0xff there is none
        .set    POWER, 0x604            # PM1a_CNT of ACPI, where the firmware puts it in QEMU's machines `q35` and `pc`
        .set    OFF, 0x2000             # SLP_EN, type 0: off
        .set    RESET, 0xcf9            # the chip set's reset
        .set    ROOM, 16                # letters of a line that are kept, which is more than any command has

        .byte   0x55, 0xaa              # an option ROM
        .byte   2                       # of two blocks of 512 bytes
        jmp     start                   # its entry
least:  .word   0                       # what the kernel needs, in blocks of 64 KiB above 16 MiB
needed: .word   0                       # what the image needs, in MiB

# How much memory there is stands in two registers of the CMOS, in blocks of 64 KiB above 16 MiB. (The firmware, by
# int 0x15, says less at this moment: it still uses some itself.)
start:  pusha
        push    ds
        push    es
        push    cs
        pop     ds
        push    cs
        pop     es
        cld
        mov     al, 0x35
        out     CMOS, al
        in      al, CONTENT
        mov     ah, al
        mov     al, 0x34
        out     CMOS, al
        in      al, CONTENT
        cmp     ax, least
        jb      little
        pop     es                      # back to the firmware, which starts the kernel
        pop     ds
        popa
        retf

little: sti                             # keys and the clock go on
        shr     ax, 4
        add     ax, 16
        mov     has, ax
say:    mov     si, offset text1
        call    print
        mov     ax, needed
        call    number
        mov     si, offset text2
        call    print
        mov     ax, has
        call    number
        mov     si, offset text3
        call    print

# A line, of which `bx` letters lie in `typed`.
prompt: mov     si, offset text4
        call    print
        xor     bx, bx
key:    call    read
        cmp     al, '\r'
        je      line
        cmp     al, '\n'
        je      line
        cmp     al, 0x08                # the two keys that take a letter back
        je      back
        cmp     al, 0x7f
        je      back
        cmp     al, ' '
        jb      key
        cmp     bx, ROOM
        je      key
        mov     typed[bx], al
        inc     bx
        call    put
        jmp     key
back:   test    bx, bx
        jz      key
        dec     bx
        mov     si, offset erase
        call    print
        jmp     key

line:   mov     si, offset end
        call    print
        test    bx, bx
        jz      prompt
        mov     di, offset reload
        call    is
        je      anew
        mov     di, offset shut
        call    is
        jne     say
        mov     dx, POWER
        mov     ax, OFF
        out     dx, ax
        jmp     wait
anew:   mov     dx, RESET
        mov     al, 6
        out     dx, al
wait:   mov     ah, 0x86                # a second: 15 times 65536 microseconds
        mov     cx, 15
        xor     dx, dx
        int     0x15
        mov     si, offset text5        # still here: another machine than those of QEMU
        call    print
        jmp     prompt

# Whether `typed` is the word at `di`, which begins with its length.
is:     movzx   cx, byte ptr [di]
        cmp     cx, bx
        jne     done
        inc     di
        mov     si, offset typed
        repe    cmpsb
done:   ret

# A letter from the serial line or the keyboard.
read:   mov     dx, STATUS
        in      al, dx
        cmp     al, 0xff
        je      keys
        test    al, 0x01
        jz      keys
        mov     dx, SERIAL
        in      al, dx
        ret
keys:   mov     ah, 1
        int     0x16
        jnz     press
        hlt                             # until the clock's next tick
        jmp     read
press:  mov     ah, 0
        int     0x16
        ret

# Prints `ax` in decimal.
number: xor     dx, dx
        mov     cx, 10
        div     cx
        push    dx
        test    ax, ax
        jz      digit
        call    number
digit:  pop     ax
        add     al, '0'

# Prints `al`, on the screen and on the serial line.
put:    pusha
        push    ax
        mov     ah, 0x0e
        xor     bx, bx
        int     0x10
        mov     dx, STATUS
busy:   in      al, dx
        test    al, 0x20
        jz      busy
        pop     ax
        mov     dx, SERIAL
        out     dx, al
        popa
        ret

# Prints the text at `si`, to its zero.
next:   call    put
print:  lodsb
        test    al, al
        jnz     next
        ret

text1:  .asciz  "\r\nThis image needs "
text2:  .asciz  " MiB of memory, and the machine has "
text3:  .ascii  ": too little for the kernel to start.\r\n"
        .asciz  "Give it more (QEMU: -m 128). Here are `reload`, `shutdown`, and `?`, which says this again.\r\n"
text4:  .asciz  "> "
text5:  .asciz  "This machine does not do that.\r\n"
end:    .asciz  "\r\n"
erase:  .asciz  "\b \b"
reload: .byte   6
        .ascii  "reload"
shut:   .byte   8
        .ascii  "shutdown"
has:    .word   0
typed:  .fill   ROOM
