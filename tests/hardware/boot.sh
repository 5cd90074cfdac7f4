#!/bin/bash
# boot.sh BED SECONDS KVM_OPTIONS COMMAND: boots the bed, runs COMMAND in it as root, passes its output on, ends with its status.
# 124: it took longer than SECONDS; 125: the bed itself failed.
set -u
bed=$(cd "$1" && pwd) seconds=$2 options=$3 command=$4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf '%s\n' "$command" >"$work/command"
truncate -s %4096 "$work/command"
qemu=$bed/root/usr/bin/qemu-system-x86_64
mkfifo "$work/in"
exec 9<>"$work/in" # an input that never ends: at its end QEMU would close the port
timeout "$seconds" "$qemu" -L "$bed/root/usr/share/qemu" -L "$bed/root/usr/share/seabios" \
	-accel tcg -cpu EPYC,+svm -M q35 -m 2048 -smp 1 -nodefaults -display none -no-reboot \
	-kernel "$bed/vmlinux" -initrd "$bed/initrd.cpio" \
	-append "console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable no_timer_check random.trust_cpu=on cryptomgr.notests bed.kvm=$options" \
	-serial "file:$work/console" -device virtio-serial-pci -chardev stdio,id=out,signal=off -device virtserialport,chardev=out,name=out \
	-drive "file=$work/command,format=raw,if=none,id=command,readonly=on" -device virtio-blk-pci,drive=command \
	-virtfs local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap <&9 2>"$work/errors"
status=$?
if [ $status = 124 ]; then
	echo "boot.sh: not done after $seconds s" >&2
	exit 124
fi
end=$(grep -aoE '^bed: end [0-9]+' "$work/console" | tail -n 1)
if [ -z "$end" ]; then
	echo "boot.sh: the bed stopped (QEMU's status $status)" >&2
	grep -v "TCG doesn't support" "$work/errors" >&2
	tail -n 30 "$work/console" >&2
	exit 125
fi
exit "${end##* }"
