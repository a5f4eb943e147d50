/** The line that the default initramfs prints when its shell is about to read: what benchmarks and scripts wait for. */
export const shellReadyText = 'cofferdam: shell ready'

/** The start of the line that /init prints when a `cofferdam.run` command is done; its status follows. */
export const runStatusText = 'cofferdam: command left with status '

/**
 * The first program of the default initramfs, for BusyBox ash. Kernel parameters:
 * - `cofferdam.run="COMMAND"` runs the command instead of a shell, reports its status and powers off;
 *   `cofferdam.run64=` is the same in base64, for commands that quotes can't hold;
 * - `cofferdam.accept=background` has memory that the kernel has not accepted yet accepted by and by, at low priority;
 * - `cofferdam.debug-exit=PORT` also writes the status to that I/O port (decimal or 0x…), where the kernel lets
 *   programs do so (CONFIG_DEVPORT).
 *
 * The console's name comes from the kernel, because /dev/console can't be a controlling terminal and Ctrl-C needs one.
 * A shell runs under BusyBox init, which takes the signals of `poweroff`, `halt` and `reboot`; a script as process 1
 * can't: it would have to keep the shell in the background, where POSIX has SIGINT ignored.
 */
export const initScript = `#!/bin/sh
export PATH=/bin HOME=/root TERM=\${TERM:-vt100}
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts
mount -t devpts pts /dev/pts
hostname cofferdam

# drivers of the devices that are there; the modules come in an archive that follows this one, where devices need it
if [ -d /lib/modules ]; then
  for bus in pci virtio platform; do
    cat /sys/bus/$bus/devices/*/modalias 2>/dev/null | xargs -r modprobe -aq
  done
fi

read -r cmdline </proc/cmdline
# parameter NAME: leaves its value, where quotes may hold spaces, in $value
parameter() {
  case " $cmdline" in
    *" $1=\\""*) value=\${cmdline#*$1=\\"}; value=\${value%%\\"*} ;;
    *" \\"$1="*) value=\${cmdline#*\\"$1=}; value=\${value%%\\"*} ;;
    *" $1="*) value=" $cmdline"; value=\${value#*" $1="}; value=\${value%% *} ;;
    *) return 1 ;;
  esac
}

tty=console
read -r active </sys/class/tty/console/active
for name in $active; do
  case $name in tty0) ;; *) tty=$name ;; esac
done
[ -c /dev/$tty ] || tty=console

# has the kernel accept its memory by holding it, in programs that wait for a pipe that nobody reads; they are the first
# to go when others want all of it (that of a file system in memory would be nobody's to give back)
accept_all() {
  mkfifo /accept && exec 9<>/accept && rm /accept || return
  holders= last=
  while left=$(sed -n 's/^Unaccepted: *\\([0-9]*\\).*/\\1/p' /proc/meminfo); [ "\${left:-0}" -gt 0 ]; do
    # the last one has what it wants
    if [ "$left" = "$last" ]; then
      (echo 1000 >/proc/self/oom_score_adj; exec dd if=/dev/zero bs=64M count=1 >&9 2>/dev/null) &
      holders="$holders $!"
      left=
    fi
    last=$left
    sleep 0.05
  done
  kill $holders 2>/dev/null
}
if parameter cofferdam.accept && [ "$value" = background ]; then
  (renice -n 19 -p $(sh -c 'echo $PPID') >/dev/null; accept_all) &
fi

if parameter cofferdam.run64; then
  command=$(echo "$value" | base64 -d)
elif parameter cofferdam.run; then
  command=$value
else
  echo "$tty::respawn:-/bin/sh" >/etc/inittab
  exec init
fi

cd /root
# When a session's leader ends, the terminal is hung up, and what has not been sent yet is lost (tty_vhangup_session):
# it waits for that, as stty does before it sets anything.
setsid -c sh -c 'sh -c "$0"; status=$?; stty onlcr; exit $status' "$command" </dev/$tty >/dev/$tty 2>&1
status=$?
echo "${runStatusText}$status"
if parameter cofferdam.debug-exit && [ -c /dev/port ]; then
  printf "\\\\$(printf %o $status)" | dd of=/dev/port bs=1 seek=$((value)) conv=notrunc 2>/dev/null
fi
sync
poweroff -f
`

/** What a login shell reads first. */
export const profileScript = `export PATH=/bin HOME=/root PS1='cofferdam:\\w\\$ '
cd /root
echo '${shellReadyText}'
`

/** What BusyBox's DHCP client runs when it has, or has lost, an address: it only asks; this makes it so. */
export const dhcpScript = `#!/bin/sh
case $1 in
  deconfig)
    ifconfig $interface 0.0.0.0
    ;;
  bound|renew)
    ifconfig $interface $ip netmask $subnet \${broadcast:+broadcast $broadcast} \${mtu:+mtu $mtu}
    while route del default dev $interface 2>/dev/null; do :; done
    for address in $router; do route add default gw $address dev $interface; done
    {
      [ -n "$domain" ] && echo "search $domain"
      for address in $dns; do echo "nameserver $address"; done
    } >/etc/resolv.conf
    ;;
esac
`

/**
 * `sev-report [TEXT]`: prints an attestation report of the guest, and the certificates that its host gives along with
 * it. TEXT is the report data, at most 64 bytes; without it they are random.
 */
export const sevReportScript = `#!/bin/sh
set -e
config=/sys/kernel/config
[ -d $config/tsm ] || mount -t configfs configfs $config 2>/dev/null || true
[ -d $config/tsm/report ] || { echo 'sev-report: this kernel offers no reports (configfs tsm)' >&2; exit 1; }
report=$config/tsm/report/$$
mkdir $report
trap 'rmdir $report' EXIT
if [ $# -gt 0 ]; then { printf %s "$1"; head -c 64 /dev/zero; } | head -c 64 >$report/inblob
else head -c 64 /dev/urandom >$report/inblob
fi
# under an SVSM the level is not 0, and the keys of levels above are not the guest's
writes=1
level=$(cat $report/privlevel_floor 2>/dev/null || echo 0)
if [ $level -gt 0 ]; then echo $level >$report/privlevel; writes=2; fi
print() {
  echo "-----BEGIN SEV-SNP $1-----"
  base64 $report/$2
  echo "-----END SEV-SNP $1-----"
}
print REPORT outblob
print CERTIFICATES auxblob
[ $(cat $report/generation) = $writes ] || { echo 'sev-report: somebody else changed the request' >&2; exit 1; }
`
