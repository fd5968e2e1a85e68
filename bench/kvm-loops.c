// The same ioctls as the KVM benchmarks, in loops of C: what cannot be beaten.

#include <linux/kvm.h>
#include <sys/ioctl.h>

/* Deletes a slot and makes it again. */
long slot_updates(int vm, struct kvm_userspace_memory_region *region, long count) {
  const __u64 size = region->memory_size;
  long failed = 0;
  for (long i = 0; i < count; i++) {
    region->memory_size = 0;
    failed += ioctl(vm, KVM_SET_USER_MEMORY_REGION, region) < 0;
    region->memory_size = size;
    failed += ioctl(vm, KVM_SET_USER_MEMORY_REGION, region) < 0;
  }
  return failed;
}

/* Reads a dirty log. */
long dirty_syncs(int vm, struct kvm_dirty_log *log, long count) {
  long failed = 0;
  for (long i = 0; i < count; i++) failed += ioctl(vm, KVM_GET_DIRTY_LOG, log) < 0;
  return failed;
}

/* Runs a processor until it has left so often for a port. */
long port_exits(int vcpu, struct kvm_run *run, long count) {
  long failed = 0;
  for (long i = 0; i < count; i++)
    failed += ioctl(vcpu, KVM_RUN, 0) < 0 || run->exit_reason != KVM_EXIT_IO;
  return failed;
}
