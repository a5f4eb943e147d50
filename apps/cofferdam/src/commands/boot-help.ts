/** What `cofferdam boot --help` shows behind the options. */
export const bootExamples = `
Examples:
  cofferdam boot
      Debian's newest cloud kernel to a shell, 2G of memory; Ctrl-A X leaves
  cofferdam boot --kernel bookworm-cloud --vcpus 4 --memory 4095M
      Linux 6.1 on four processors
  cofferdam boot --cc snp --run 'dmesg | grep SEV; grep Unaccepted /proc/meminfo'
      the kernel as a confidential guest: SEV-SNP silicon, a host that launches it, memory that it accepts
  cofferdam boot --cc snp --firmware ovmf-amdsev --kernel trixie-cloud --vcpus 2
      the same through OVMF, which verifies the kernel by hashes that are part of its measurement
  cofferdam boot --cc snp --svsm --run 'dmesg | grep -i -e VMPL -e SVSM'
      the same at VMPL2, with our SVSM above it
  cofferdam boot --cc snp --sev-features secure-tsc,debug-swap --run 'dmesg | grep -i tsc'
      the same with a TSC that the host cannot change
  cofferdam boot --cc snp --hostile unmap@'shell ready'
      a host that attacks the guest: what it did and what the guest noticed is said at the end
  cofferdam boot --run 'cat /proc/cpuinfo; free -m' --append quiet
      one command instead of a shell, then power off; exit 3 when the command fails
  echo 'uname -a; sha256sum /bin/busybox' | cofferdam boot
      the same from a pipe: its lines are typed at the prompt, then the machine powers off
  cofferdam boot --add ./hello:/bin/hello --run hello
      a static program of yours in the guest
  cofferdam boot --kernel sid-generic --share ./src --run 'mount -t 9p -o version=9p2000.L share /root && ls /root'
      a folder of yours, which the guest can read
  cofferdam boot --kernel sid-generic --cpu amd --device psp --run 'modprobe kvm_amd; dmesg | grep -E "ccp|SEV"'
      a host of SEV guests to be, with the PSP that Linux's ccp drives
  cofferdam boot --net user --run 'ifconfig eth0 up; udhcpc -i eth0 -q; ping -c 3 gateway'
      a network card; the guest reaches its gateway and nothing else
  cofferdam boot --kernel ./bzImage --initrd ./initrd.img --append root=/dev/ram0 --timeout 60
      your own kernel and initramfs; gives up after a minute
  cofferdam boot --until 'Run /init' --stats boot.json --trace boot.json.perfetto </dev/null
      stops at that text; open the trace in https://ui.perfetto.dev
  cofferdam boot --firmware ovmf --vars my-vars.fd --save-vars my-vars.fd
      the same through UEFI, with variables that last; with a debug build of OVMF --debug-console shows what it says
  cofferdam boot --kernel ./test.flat --initrd none --device isa-debug-exit,iobase=0xf4,iosize=4 --device pc-testdev
      a Multiboot or PVH test kernel written for QEMU; its exit status becomes ours
  cofferdam boot --snapshot-at 'shell ready' --snapshot shell.snap --snapshot-stop
  cofferdam boot --restore shell.snap
      a shell at once, as often as wanted; --snapshot-every 10s keeps a long run that may be killed. With --cc snp, too:
      the file then says that it holds an SNP guest
  cofferdam boot --append nokaslr --gdb 1234
      waits for gdb: gdb vmlinux -ex 'target remote :1234' -ex 'hbreak start_kernel' -ex continue
      (with --cc snp it sees what the guest sees, which no host could)

Exit codes: 0 the guest powered off or reached --until; 1 the same, but it broke rules of the architecture (findings);
2 usage or bad input; 3 the guest crashed, hung or timed out, with or without findings.
With --device isa-debug-exit a guest that writes V there leaves with 2 * V + 1, as with QEMU.
`
