# A Multiboot kernel that looks at everything it is given, and at the devices of test kernels.
.section .multiboot, "a"
  .long 0x1badb002, 3, -(0x1badb002 + 3)
.text
.globl _start
_start:
  mov $stack, %esp
  mov %ebx, %ebp
  number "magic"
  say "command line:"
  mov 16(%ebp), %esi
skip:
  lodsb                     # the kernel's name differs by where the test runs
  cmp $32, %al
  ja skip
  dec %esi
  call puts
  call newline
  mov 20(%ebp), %eax
  number "modules"
  mov 24(%ebp), %edi
  mov 4(%edi), %eax
  sub (%edi), %eax
  number "module bytes"
  mov (%edi), %eax
  and $0xfff, %eax
  number "module offset in its page"
  mov (%edi), %esi
  mov (%esi), %eax
  number "module begins"
  # the map's RAM at 1 MiB
  mov 48(%ebp), %edi
  mov 44(%ebp), %ecx
  add %edi, %ecx
3: cmpl $0x100000, 4(%edi)
  je 4f
  add (%edi), %edi
  add $4, %edi
  cmp %ecx, %edi
  jb 3b
4: mov 20(%edi), %eax
  number "type of the memory at 1 MiB"
  mov 8(%ebp), %eax
  add $1024 + 1023, %eax    # firmware may keep a little of it
  shr $10, %eax
  number "MiB"
  mov bss, %eax
  number ".bss"
  # fw_cfg by ports
  xor %eax, %eax
  mov $0x510, %dx
  out %ax, %dx
  call config
  number "fw_cfg"
  mov $5, %eax
  mov $0x510, %dx
  out %ax, %dx
  call config
  number "processors"
  mov $3, %eax
  mov $0x510, %dx
  out %ax, %dx
  call config
  number "RAM"
  # fw_cfg by DMA: select item 0, read 4 bytes
  movl $0x0a000000, dma
  movl $0x04000000, dma+4
  movl $0, dma+8
  mov $bss, %eax
  bswap %eax
  mov %eax, dma+12
  mov $0x514, %dx
  xor %eax, %eax
  out %eax, %dx
  mov $0x518, %dx
  mov $dma, %eax
  bswap %eax
  out %eax, %dx
  mov dma, %eax
  number "DMA control"
  mov bss, %eax
  number "DMA data"
  # pc-testdev
  mov $0x12345678, %eax
  out %eax, $0xe0
  xor %eax, %eax
  in $0xe2, %ax
  number "word"
  movb $0x5a, 0xff000123
  movzwl 0xff000122, %eax
  number "memory"
  # line 5 rises: the PIC has a request
  mov $0x2005, %dx
  mov $1, %al
  out %al, %dx
  mov $0x0a, %al
  out %al, $0x20
  xor %eax, %eax
  in $0x20, %al
  and $0x20, %eax
  number "line 5"
  mov $0x2005, %dx
  mov $0, %al
  out %al, %dx
  # pci-testdev
  xor %ebx, %ebx
5: mov %ebx, %eax
  shl $11, %eax
  or $0x80000000, %eax
  mov %eax, %edi
  mov $0xcf8, %dx
  out %eax, %dx
  mov $0xcfc, %dx
  in %dx, %eax
  cmp $0x00051b36, %eax
  je 6f
  inc %ebx
  cmp $32, %ebx
  jb 5b
6: number "pci-testdev"
  lea 4(%edi), %eax
  mov $0xcf8, %dx
  out %eax, %dx
  mov $0xcfc, %dx
  in %dx, %eax
  and $3, %eax
  number "decoding"
  lea 0x10(%edi), %eax
  mov $0xcf8, %dx
  out %eax, %dx
  mov $0xcfc, %dx
  in %dx, %eax
  and $~15, %eax
  mov %eax, %edi
  movb $0, (%edi)
  mov $16, %ecx
  xor %ebx, %ebx
7: mov 16(%edi,%ebx), %al
  mov $0x3f8, %dx
  out %al, %dx
  inc %ebx
  cmp $15, %ebx
  jb 7b
  mov $10, %al
  out %al, %dx
  mov 4(%edi), %ebx
  movb $0xfa, (%edi,%ebx)
  movb $0xfa, (%edi,%ebx)
  mov 12(%edi), %eax
  number "counted"
  mov $0x15, %eax
  out %eax, $0xf4
8: hlt
  jmp 8b
config:
  mov $0x511, %dx
  mov $4, %ecx
1: in %dx, %al
  ror $8, %eax
  loop 1b
  ret
.bss
.balign 16
bss: .long 0
dma: .space 16
.space 4096
stack:
