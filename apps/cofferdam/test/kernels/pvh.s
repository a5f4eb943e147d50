# An ELF kernel with a PVH entry that looks at hvm_start_info.
.section .note, "a", @note
  .long 4, 4, 18
  .asciz "Xen"
  .long _start
.text
.globl _start
_start:
  mov $stack, %esp
  mov %ebx, %ebp
  mov (%ebp), %eax
  number "magic"
  mov 4(%ebp), %eax
  number "version"
  mov 12(%ebp), %eax
  number "modules"
  mov 16(%ebp), %edi
  mov 8(%edi), %eax
  number "module bytes"
  mov (%edi), %esi
  mov (%esi), %eax
  number "module begins"
  say "command line: "
  mov 24(%ebp), %esi
  call puts
  call newline
  mov 32(%ebp), %edi
  mov (%edi), %eax
  number "RSDP"
  mov 40(%ebp), %edi        # the map: the entry at 1 MiB
  mov 48(%ebp), %ecx
1: cmpl $0x100000, (%edi)
  je 2f
  add $24, %edi
  loop 1b
2: mov 16(%edi), %eax
  number "type of the memory at 1 MiB"
  mov %cr0, %eax
  and $0x80000001, %eax
  number "CR0"
  xor %eax, %eax
  mov %cs, %ax
  lar %ax, %eax
  and $0xc09a00, %eax     # accessed or not
  number "CS"
  # a table with 32-bit addresses, for those who know no other
  mov 32(%ebp), %edi
  mov 16(%edi), %edi
  mov (%edi), %eax
  number "RSDT"
  mov $3, %eax
  out %eax, $0xf4
3: hlt
  jmp 3b
.bss
.space 4096
stack:
