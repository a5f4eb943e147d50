/** A guest at work on all its processors: a script for BusyBox's shell that ends with what it counted. */

/** What each round does, in parallel with the others; each prints nothing, or what went wrong. */
const jobs = {
  // Thirty processes that come and go, with copies of the shell's memory that are written to.
  fork: 'i=0; while [ $i -lt 30 ]; do (x=$i; : $((x=x*x))) & i=$((i+1)); [ $((i%10)) = 0 ] && wait; done; wait',
  // Bytes through chains of pipes, on as many processors as there are; the sum is that of 64 KiB of the letter a.
  pipes: `for p in 1 2 3 4; do
    s=$(dd if=/dev/zero bs=4k count=16 2>/dev/null | tr '\\0' a | cat | dd bs=1000 2>/dev/null | md5sum)
    [ "$s" = "2d61aa54b58c2e94403fb092c3dbc027  -" ] || echo "pipe: $s" &
  done; wait`,
  // Signals to processes that sleep, compute or have just begun.
  signals: `for k in 1 2 3; do
    sh -c 'n=0; trap "n=\\$((n+1))" USR1; trap "exit 7" TERM; echo up; while :; do :; done' >/tmp/up.$k & p=$!
    while [ ! -s /tmp/up.$k ]; do sleep 0.01; done
    for s in 1 2 3 4 5; do kill -USR1 $p; done; kill -TERM $p; wait $p; [ $? = 7 ] || echo "signal: status $?"
    sleep 100 & p=$!; kill -KILL $p; wait $p; rm /tmp/up.$k
  done`,
  // A file system that fills up, and gives its memory back.
  fill: `mkdir -p /fill; mount -t tmpfs -o size=4m fill /fill
    dd if=/dev/zero of=/fill/a bs=64k 2>/dev/null && echo "fill: it did not fill up"
    [ $(stat -c %s /fill/a) = 4194304 ] || echo "fill: $(stat -c %s /fill/a) bytes"; umount /fill`,
  // Sorting: memory that grows, and page faults.
  sort: 'seq 2000 | sort -r >/tmp/down; sort -n /tmp/down >/tmp/up; '
    + 'seq 2000 | cmp - /tmp/up || echo "sort: wrong order"',
} as const

/** Takes processors away and gives them back while the rest goes on. */
const hotplug = `for c in 1 2 3; do
  echo 0 >/sys/devices/system/cpu/cpu$c/online; sleep 0.05; echo 1 >/sys/devices/system/cpu/cpu$c/online; sleep 0.05
done`

/**
 * The script. It says `stress: N rounds on P processors, M problems`, after lines that say what went wrong.
 * @param seconds - of the guest's time, at least
 * @param cycles - how often processors are taken away and given back: in `each` round, or `once` before the last one
 */
export const stressScript = (seconds: number, cycles: 'each' | 'once'): string => `
cat >/tmp/round <<'END'
${Object.values(jobs).map((job) => `( ${job} ) &`).join('\n')}
${cycles === 'each' ? `( ${hotplug} ) &` : ''}
wait
END
now() { cut -d. -f1 /proc/uptime; }
end=$(($(now) + ${seconds})); rounds=0
round() { sh /tmp/round >>/tmp/said 2>&1; rounds=$((rounds+1)); sleep 3; }
while [ $(now) -lt $end ]; do round; done
${cycles === 'once' ? `${hotplug}\nround` : ''}
grep -vE '^Killed|^Terminated' /tmp/said | head -20
dmesg | grep -E 'BUG|WARNING|Call Trace|soft lockup|stall|hung task|blocked for more|Oops' | head -20
echo "stress: $rounds rounds on $(nproc) processors, $(grep -cvE '^Killed|^Terminated' /tmp/said) problems"
`
