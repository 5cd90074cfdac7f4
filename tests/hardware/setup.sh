#!/bin/bash
# setup.sh DIR: everything the bed needs into DIR, from Debian's packages: QEMU 10 (backports: 7.2 does not emulate all we use), a kernel, an initramfs.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
bed=$(cd "$1" && pwd)
cd "$bed"

tools=(/bin/busybox cpio depmod xz zstd lz4 /usr/share/keyrings/debian-archive-keyring.gpg)
packages=(busybox-static cpio kmod xz-utils zstd lz4 debian-archive-keyring)
missing=()
for i in "${!tools[@]}"; do
	command -v "${tools[$i]}" >/dev/null || [ -e "${tools[$i]}" ] || missing+=("${packages[$i]}")
done
# The libraries of QEMU come with Debian's own package of it; the program itself is the one from backports.
command -v qemu-system-x86_64 >/dev/null || missing+=(qemu-system-x86)
if [ ${#missing[@]} -gt 0 ]; then
	[ "$(id -u)" = 0 ] || { echo "missing: ${missing[*]}. Install them: sudo apt-get install ${missing[*]}" >&2; exit 1; }
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
fi

# An apt configuration of our own adds backports; the machine's sources stay as they are, and its mirror is used.
mirror=$({ cat /etc/apt/sources.list /etc/apt/sources.list.d/*.{list,sources} 2>/dev/null || true; } | grep -oE 'https?://[^ ]+/debian/?( |$)' | head -n 1 | tr -d ' ')
[ -n "$mirror" ] || { echo 'no Debian mirror in /etc/apt: the bed needs one' >&2; exit 1; }
mkdir -p apt/lists/partial apt/cache/archives/partial packages
cat >apt/sources.sources <<S
Types: deb
URIs: $mirror
Suites: bookworm bookworm-backports
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
S
cat >apt/apt.conf <<S
Dir::Etc::sourcelist "$bed/apt/sources.sources";
Dir::Etc::sourceparts "/dev/null";
Dir::State::lists "$bed/apt/lists";
Dir::Cache "$bed/apt/cache";
APT::Sandbox::User "root";
S
export APT_CONFIG=$bed/apt/apt.conf
apt-get update -qq
kernel=$(apt-cache show linux-image-amd64/bookworm | sed -n 's/^Depends: \(linux-image-[^ ]*\).*/\1/p' | head -n 1)
cd packages
for package in qemu-system-x86/bookworm-backports qemu-system-common/bookworm-backports qemu-system-data/bookworm-backports \
	seabios/bookworm-backports "$kernel"; do
	apt-get download -qq "$package"
done
for package in *.deb; do dpkg -x "$package" "$bed/root"; done
cd "$bed"
rm -rf packages apt

# The kernel as an ELF file starts without a boot loader (PVH). bzImage: Documentation/arch/x86/boot.rst, payload_offset and payload_length.
/usr/bin/python3.11 - root/boot/vmlinuz-* vmlinux <<'PYTHON'
import lzma, subprocess, sys
image = open(sys.argv[1], "rb").read()
start = (image[0x1F1] + 1) * 512 + int.from_bytes(image[0x248:0x24C], "little")
payload = image[start : start + int.from_bytes(image[0x24C:0x250], "little")]
if payload[:6] == b"\xfd7zXZ\0":
    elf = lzma.LZMADecompressor().decompress(payload)
else:
    tool = ["zstd", "-dc"] if payload[:4] == b"\x28\xb5\x2f\xfd" else ["lz4", "-dc"]
    elf = subprocess.run(tool, input=payload[:-4] if tool[0] == "lz4" else payload, stdout=subprocess.PIPE).stdout
assert elf[:4] == b"\x7fELF", "the kernel's compression is not known"
open(sys.argv[2], "wb").write(elf)
PYTHON

# The initramfs: busybox, our init, and the modules it loads with what they depend on.
version=$(ls root/lib/modules)
depmod -b root "$version"
rm -rf initramfs
mkdir -p initramfs/{bin,dev,proc,sys,lower,rw,new} "initramfs/lib/modules/$version"
cp /bin/busybox initramfs/bin/
cp "$here/init" initramfs/init
for module in kvm-amd virtio_pci virtio_blk virtio_console 9p 9pnet_virtio overlay; do
	modprobe -d root -S "$version" --show-depends "$module" 2>/dev/null | sed -n 's/^insmod \([^ ]*\).*/\1/p' | while read -r file; do
		target=initramfs/lib/modules/$version/${file#*"/lib/modules/$version/"}
		mkdir -p "$(dirname "$target")"
		cp "$file" "$target"
	done
done
cp root/lib/modules/"$version"/modules.{order,builtin,builtin.modinfo} "initramfs/lib/modules/$version/"
find initramfs -name '*.ko.xz' -exec unxz {} +
depmod -b initramfs "$version"
chmod 755 initramfs/init
(cd initramfs && find . | cpio -o -H newc -R 0:0 --quiet) >initrd.cpio
rm -rf initramfs root/lib/modules root/boot
