#!/bin/sh
# A disk that can be told to fail, for nbdkit's sh plugin. It has a volatile cache: what was written is in `disk`, what a
# flush has covered is in `stable`. The files `refuse-*` beside this script say what it refuses, as long as they are there;
# every refusal is noted in `refusals`.
cd "${0%/*}" || exit 1

# copy FROM TO OFFSET LENGTH
copy() {
    dd if="$1" of="$2" bs=64K skip="$3" seek="$3" count="$4" iflag=skip_bytes,count_bytes oflag=seek_bytes \
        conv=notrunc status=none
}

# Makes the file TO what the file FROM is, wherever something was written since the last flush.
settle() {
    while read -r offset length; do
        copy "$1" "$2" "$offset" "$length" || exit 1
    done <unflushed
    : >unflushed
}

refuse() {
    echo "$*" >>refusals
    echo "EIO this disk is told to refuse" >&2
    exit 1
}

# is_refused OFFSET LENGTH: whether what came in is not to be written there.
is_refused() {
    [ ! -e refuse-device ] || return 0
    if [ -e refuse-place ]; then
        read -r from to <refuse-place
        [ "$1" -ge "$to" ] || [ $(($1 + $2)) -le "$from" ] || return 0
    fi
    [ -e refuse-stamp ] && grep -qaFf refuse-stamp incoming
}

case $1 in
thread_model) echo serialize_all_requests ;;
get_size) stat -c %s disk ;;
can_write | can_flush) exit 0 ;;
pread)
    dd if=disk bs=64K skip="$4" count="$3" iflag=skip_bytes,count_bytes status=none
    ;;
pwrite)
    cat >incoming
    if is_refused "$4" "$3"; then refuse write "$4" "$3"; fi
    dd if=incoming of=disk bs=64K seek="$4" oflag=seek_bytes conv=notrunc status=none || exit 1
    echo "$4 $3" >>unflushed
    ;;
flush)
    [ ! -e refuse-device ] || refuse flush
    if [ -e refuse-flush ]; then
        # What a failed flush leaves is anybody's guess. The worst: nothing of it.
        settle stable disk
        refuse flush
    fi
    settle disk stable
    ;;
*) exit 2 ;;
esac
