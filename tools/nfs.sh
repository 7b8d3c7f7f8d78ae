#!/bin/bash
# A server of NFS and two clients on this machine, for tests/store/test_network_drives.py. Root, on Linux, with the
# kernel's modules nfsd and nfs and the packages nfs-kernel-server and nfs-common; best in a virtual machine of its own.
#
#     tools/nfs.sh vers=4.2 python -m pytest tests/store/test_network_drives.py
#
# Runs the command with the export mounted twice, with these options, at the two folders of RUN_BATCH_NFS. Each client
# has a network and a host name of its own: to a server of NFS 4, two of one name are one client, and it drops the
# locks of the first when the second comes.
set -eu
options=$1
shift
modprobe -a nfsd nfs nfsv4 nfsv3 veth loop

work=$(mktemp -d)
mount -t tmpfs tmpfs "$work"
truncate -s 64M "$work/disk"
mkfs.ext4 -q "$work/disk"
mkdir "$work/export" "$work/a" "$work/b"
mount -o loop "$work/disk" "$work/export"
mountpoint -q /proc/fs/nfsd || mount -t nfsd nfsd /proc/fs/nfsd
pidof rpcbind > /dev/null || rpcbind -w
pidof rpc.mountd > /dev/null || rpc.mountd
exportfs -o rw,sync,no_root_squash,no_subtree_check,insecure,fsid=77 "*:$work/export"
exportfs -o rw,sync,no_root_squash,no_subtree_check,insecure,fsid=0 "*:$work"
rpc.nfsd 8
echo Y > /proc/fs/nfsd/v4_end_grace || true
case $options in *vers=3*) path=$work/export ;; *) path=/export ;; esac

number=0
for name in a b; do
    number=$((number + 1))
    ip netns add "nfs-$name"
    ip link add "nfs-$name" type veth peer name eth0 netns "nfs-$name"
    ip addr add "10.201.$number.1/24" dev "nfs-$name"
    ip link set "nfs-$name" up
    ip -n "nfs-$name" addr add "10.201.$number.2/24" dev eth0
    ip -n "nfs-$name" link set eth0 up
    ip -n "nfs-$name" link set lo up
    nsenter "--net=/run/netns/nfs-$name" unshare --uts \
        sh -c "hostname nfs-$name; mount -t nfs -o $options 10.201.$number.1:$path $work/$name"
done

cleanup() {
    umount "$work/a" "$work/b"
    ip netns del nfs-a
    ip netns del nfs-b
    exportfs -u "*:$work/export"
    exportfs -u "*:$work"
    rpc.nfsd 0
    umount "$work/export" "$work"
    rmdir "$work"
}
trap cleanup EXIT
RUN_BATCH_NFS=$work/a:$work/b "$@"
