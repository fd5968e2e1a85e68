#!/bin/sh
# The BusyBox workload: `sh workload [DIVISOR]`. Each step ends with a line `M:name`, which the host
# times. The last word stands before a space, so that the mark is whole when it matches.
DIVISOR=${1:-1}
cd /tmp || exit 1

repeat() { # COUNT COMMAND...
  count=$(($1 / DIVISOR))
  shift
  i=0
  while [ $i -lt $count ]; do
    "$@"
    i=$((i + 1))
  done
}
text_line() { echo "line $i of a generated text file $((i * 7919 % 10007)) lorem ipsum"; }

echo "M:start "
repeat 100000 :
echo "M:shell-loop "
dd if=/dev/zero of=zeros bs=64k count=$((512 / DIVISOR)) 2>/dev/null
echo "M:dd "
repeat 60000 text_line >text
echo "M:generate "
md5sum zeros text
echo "M:md5sum "
sha256sum text
echo "M:sha256sum "
gzip -c text >text.gz
echo "M:gzip "
gzip -dc text.gz | md5sum
echo "M:gunzip "
repeat 200 /bin/busybox true
echo "M:fork-exec "
awk -v n=$((300000 / DIVISOR)) 'BEGIN { for (; i < n; i++) { s += i * 1.5; s %= 1000003 } print s }'
echo "M:awk-float "
bzip2 -c text | wc -c
echo "M:bzip2 "
rm -f zeros text text.gz
