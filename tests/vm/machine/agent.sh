#!/bin/bash
# The hands of the tests in a virtual machine: runs shell lines that come by the virtio port.
#
# In: a header `ID SECONDS BYTES BYTES`, then the line and its input. Out: a header `ID STATUS UPTIME
# BYTES BYTES`, then what it wrote to standard output and standard error; at the very first `up
# BOOT-ID`. Text only. Not exported: lengths are bytes here, whatever the language of what it runs.
LC_ALL=C
exec 3<>/dev/vport0p1 || exit
mkdir -p /run/agent
cd /root || exit
printf 'up %s\n' "$(</proc/sys/kernel/random/boot_id)" >&3
while read -r id limit line_bytes input_bytes <&3; do
    line='' input=''
    if [ "$line_bytes" -gt 0 ]; then IFS= read -r -d '' -N "$line_bytes" line <&3; fi
    if [ "$input_bytes" -gt 0 ]; then IFS= read -r -d '' -N "$input_bytes" input <&3; fi
    printf %s "$input" >/run/agent/in
    # Files, not pipes: what a line leaves running in the background holds up nothing.
    timeout --kill-after=2 "$limit" /bin/sh -c "$line" \
        </run/agent/in >/run/agent/out 2>/run/agent/err 3>&-
    status=$?
    { out=$(</run/agent/out) err=$(</run/agent/err); } 2>/run/agent/noise
    read -r uptime _ </proc/uptime
    printf '%s %s %s %s %s\n%s%s' "$id" "$status" "$uptime" "${#out}" "${#err}" "$out" "$err" >&3
done
