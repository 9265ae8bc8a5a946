# Takes away what one sandbox, or one machine of it, has on this host. Arguments:
# the sandbox's id, the folder of its disks, and a machine's part of the names; none: all
# machines and the network between them. What is gone already is fine.
id=$1 disks=$2 name=$3
groups=dorainfra-$id-${name:-*}

# The trees of control groups: one, or those of a host with both versions.
trees='/sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd'

in_groups() {
  for tree in $trees; do
    for group in "$tree"/$groups; do
      [ ! -d "$group" ] || find "$group" "$@"
    done
  done
}

rounds=0
while [ "$rounds" -lt 200 ]; do
  pids=$(in_groups -name cgroup.procs -exec cat {} + 2>/dev/null | sort -u)
  [ -n "$pids" ] || break
  # shellcheck disable=SC2086 # one word each
  kill -s KILL $pids 2>/dev/null
  rounds=$((rounds + 1))
  sleep 0.05
done
in_groups -depth -type d -exec rmdir {} \; 2>/dev/null

ip netns list 2>/dev/null | while read -r space _; do
  # shellcheck disable=SC2254 # a pattern
  case $space in $groups) ip netns delete "$space" ;; esac
done
[ -n "$name" ] && exit 0

losetup --list --noheadings --raw --output NAME,BACK-FILE | while read -r device file; do
  case $file in "$disks"/*) losetup --detach "$device" ;; esac
done
ip netns delete "dorainfra-$id" 2>/dev/null
ip link delete "dora-$id" 2>/dev/null
exit 0
