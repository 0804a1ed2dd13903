/** One row: its number, and the run of the writer that wrote it. */
export type Row = string

/**
 * Appends `NUMBER RUN` to the log and syncs it, then notes it outside of the volume as acknowledged. No two runs write the same row,
 * so that a row that was lost and written again by another run is found. What it overwrites besides is something to ship.
 */
export const writerLoop = [
  'trap "exit 0" TERM; run=$(cat /proc/sys/kernel/random/uuid)',
  'n=$(tail -n 1 /data/log 2>/dev/null | cut -d " " -f 1); [ "$n" ] || n=0',
  'while :; do row="$((n+1)) $run"',
  'if echo "$row" >>/data/log; then n=$((n+1))',
  'dd if=/dev/urandom of=/data/churn bs=64k count=1 seek=$((n%64)) conv=notrunc 2>/dev/null',
  'sync /data/log && echo "$row" >>/acks/rows; fi',
  'sleep 0.03 & wait $!; done',
].join('\n')

/** A line that is being written is left out. */
export const rowsOf = (text: string): Row[] =>
  text
    .slice(0, text.lastIndexOf('\n') + 1)
    .split('\n')
    .slice(0, -1)

export const numberOf = (row: Row): number => Number(row.split(' ')[0])

export const runOf = (row: Row): string => row.split(' ')[1] ?? ''
