# Becomes one machine: in a control group and with mounts of its own, all of
# which end with its last process. Arguments: the name of its namespace, its
# folder, the base system, its host name.
set -eu
space=$1 dir=$2 base=$3 name=$4

for tree in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd; do
  [ -e "$tree/cgroup.procs" ] || continue
  # A group with groups of its own, as its last boot has left it, takes no process.
  [ ! -d "$tree/$space" ] || find "$tree/$space" -depth -type d -exec rmdir {} \;
  mkdir -p "$tree/$space"
  echo $$ >"$tree/$space/cgroup.procs"
done
# The boot disk: what the machine writes lies over a base that all share.
mount -t overlay overlay -o "lowerdir=$base,upperdir=$dir/boot/upper,workdir=$dir/boot/work" "$dir/boot/root"
# Its network is its own to change: Google's agent takes a load balancer's address for one of
# the machine's.
exec systemd-nspawn --quiet --capability=CAP_NET_ADMIN --boot --register=no --keep-unit --directory="$dir/boot/root" \
  --machine="$name" --network-namespace-path="/run/netns/$space" --console=read-only \
  --resolv-conf=off --timezone=off --link-journal=no --setenv=SYSTEMD_COLORS=0
