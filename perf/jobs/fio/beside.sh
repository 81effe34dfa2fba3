#!/usr/bin/env bash
# What fio gets through NBD from Holdfast, from qemu-storage-daemon and from nbdkit's cache filter, on files of one file
# system, in the same rounds: depth.fio over a hot set that every cache holds.
#
#     perf/jobs/fio/beside.sh                                  # ROUNDS=5 SECONDS_EACH=3 HOT=64m DIRECTORY=/var/tmp
#     HOLDFASTD=target/release/holdfastd ARENA=/dev/hugepages DIRECTORY=/srv perf/jobs/fio/beside.sh
#
# The first line of what it prints is the machine's words, then a table: medians of the rounds' requests in a second, each with
# its spread, (max - min) / median, and the medians of the ratios, taken round by round. Who begins a round takes turns. Each server has a file of its own, all three run all the time, and whose turn it is not has nothing to do.
# The daemon takes 129 huge pages below ARENA, or memory where that is on tmpfs. A DIRECTORY on tmpfs is refused: it is no disk.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")" || exit 2

readonly rounds="${ROUNDS:-5}" each="${SECONDS_EACH:-3}" hot="${HOT:-64m}" directory="${DIRECTORY:-/var/tmp}"
readonly holdfastd="${HOLDFASTD:-../../../target/release/holdfastd}" arena="${ARENA:-/dev/hugepages}"
readonly servers=(holdfast qemu-storage-daemon nbdkit)

fail() { printf 'beside.sh: %s\n' "$*" >&2; exit 2; }

for program in fio qemu-storage-daemon nbdkit "$holdfastd"; do
    command -v "$program" >/dev/null || fail "$program is not there; packages: fio, qemu-system-common, nbdkit; HOLDFASTD says where a release build is"
done
[ "$(stat -f -c %T "$directory")" != tmpfs ] || fail "$directory is on tmpfs; DIRECTORY says where else"

place=$(mktemp -d "$directory/holdfast-beside-XXXXXX") || fail "no place in $directory"
memory=$(mktemp -d "$arena/holdfast-beside-XXXXXX") || { rmdir "$place"; fail "no place in $arena; ARENA says where else"; }
pids=()
clean_up() {
    [ "${#pids[@]}" -eq 0 ] || { kill "${pids[@]}" && wait "${pids[@]}"; } 2>/dev/null
    rm -rf "$place" "$memory"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# A server, with its words in a file; all of them are ours to end.
start() {
    local name=$1
    shift
    "$@" >"$place/$name.log" 2>&1 </dev/null &
    pids+=($!)
    for _ in $(seq 100); do
        [ ! -S "$place/$name.sock" ] || return 0
        kill -0 $! 2>/dev/null || break
        sleep 0.1
    done
    fail "$name does not listen: $(tail -3 "$place/$name.log")"
}

for name in "${servers[@]}"; do
    # Allocated and written, as a disk in use is.
    dd if=/dev/zero of="$place/$name.img" bs=1M count=256 conv=fsync status=none || fail "no room in $directory"
done
cat >"$place/holdfast.toml" <<END
[daemon]
state_dir = "$place/state"
socket = "$place/clients.sock"
admin_socket = "$place/admin.sock"
[arena]
path = "$memory"
size = "256MiB"
[[volume]]
name = "vm1"
backing = { kind = "file", path = "$place/holdfast.img" }
[[frontend]]
kind = "nbd"
socket = "$place/holdfast.sock"
volumes = ["vm1"]
END
start holdfast "$holdfastd" serve --config "$place/holdfast.toml"
start qemu-storage-daemon qemu-storage-daemon \
    --blockdev "driver=file,node-name=vm1,filename=$place/qemu-storage-daemon.img" \
    --nbd-server "addr.type=unix,addr.path=$place/qemu-storage-daemon.sock" \
    --export type=nbd,id=vm1,node-name=vm1,name=vm1,writable=on
# Its cache filter keeps what it caches in a file of TMPDIR.
TMPDIR="$place" start nbdkit nbdkit -f --filter=cache --unix="$place/nbdkit.sock" file file="$place/nbdkit.img" cache=writeback

# One line for each job: round, server, job, requests in a second.
measure() {
    local round=$1 name=$2 export=/vm1
    [ "$name" != nbdkit ] || export=/
    sync -f "$place"
    HOLDFAST_URI="nbd+unix://$export?socket=$place/$name.sock" HOLDFAST_SIZE="$hot" HOLDFAST_TIME="${each}s" \
        timeout $((each * 8 + 60)) fio --output-format=terse --terse-version=3 depth.fio 2>"$place/fio.log" |
        awk -F';' -v round="$round" -v name="$name" '$1 == 3 && $5 == 0 { print round, name, $3, $8 + $49 }'
}

printf '%s, %s cores, %s, Linux %s; files on %s; load %s; %s rounds of %s s a job, %s hot; fio %s, qemu %s, %s\n' \
    "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)" "$(nproc)" \
    "$(systemd-detect-virt 2>/dev/null || true)" "$(uname -r)" "$(stat -f -c %T "$place")" "$(cut -d' ' -f1 /proc/loadavg)" \
    "$rounds" "$each" "$hot" "$(fio --version)" \
    "$(qemu-storage-daemon --version | sed -n 's/.*version \([^ ]*\).*/\1/p;q')" "$(nbdkit --version)"
# The first one is not counted: it brings the hot set into every cache.
for round in 0 $(seq "$rounds"); do
    for step in 0 1 2; do
        measure "$round" "${servers[(round + step) % 3]}" || fail "fio failed: $(tail -3 "$place/fio.log")"
    done
done | grep -v '^0 ' >"$place/measured"
expected=$((rounds * 12))
[ "$(wc -l <"$place/measured")" -eq "$expected" ] || fail "only $(wc -l <"$place/measured") of $expected figures: $(cat "$place/fio.log")"

awk '
function median(list, count,   i, j, swap) {
    for (i = 2; i <= count; i++) for (j = i; j > 1 && list[j] < list[j - 1]; j--) {
        swap = list[j]; list[j] = list[j - 1]; list[j - 1] = swap
    }
    return count % 2 ? list[(count + 1) / 2] : (list[count / 2] + list[count / 2 + 1]) / 2
}
# Medians of one server, or of its ratios to another one, round by round. Leaves `list` sorted.
function of(job, name, other,   round) {
    for (round = 1; round <= rounds; round++)
        list[round] = rate[round, name, job] / (other == "" ? 1 : rate[round, other, job])
    return median(list, rounds)
}
function cell(job, name,   middle) {
    middle = of(job, name)
    return sprintf("%d (%.0f%%)", middle, 100 * (list[rounds] - list[1]) / middle)
}
{ rate[$1, $2, $3] = $4; rounds = $1 > rounds ? $1 : rounds }
END {
    print "\n| job | Holdfast, 1/s | qemu-storage-daemon | nbdkit | over qemu-storage-daemon | over nbdkit |"
    print "|---|---|---|---|---|---|"
    jobs = split("write-depth-1 write-depth-32 read-depth-1 read-depth-32", names, " ")
    for (at = 1; at <= jobs; at++) {
        job = names[at]
        printf "| %s | %s | %s | %s | %.2f | %.2f |\n", job, cell(job, "holdfast"), cell(job, "qemu-storage-daemon"),
            cell(job, "nbdkit"), of(job, "holdfast", "qemu-storage-daemon"), of(job, "holdfast", "nbdkit")
    }
}' "$place/measured"
