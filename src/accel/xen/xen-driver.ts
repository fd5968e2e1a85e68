// What Quire needs of a Xen hypervisor for a domain's memory: hypercalls and device-model
// operations under the names of Xen's public headers (xen/include/public/memory.h, hvm/dm_op.h,
// hvm/hvm_op.h, domctl.h). A frame is a page of the guest-physical space, by number.

/**
 * `hvmmem_type_t`: HVMMEM_ram_rw, HVMMEM_ram_ro whose writes Xen discards, HVMMEM_ioreq_server
 * whose reads are plain and whose writes come to the device model. What has no memory is
 * HVMMEM_mmio_dm.
 */
export type XenMemoryType = 'ram_rw' | 'ram_ro' | 'ioreq_server';

/** Foreign pages in our own address space. */
export interface XenForeignPages {
  readonly bytes: Uint8Array;
  /** 1 for each page that is there; accesses to others would end the process. */
  readonly isPresent: Uint8Array;
}

/** The memory of one domain. Each method throws what the hypervisor's error is. */
export interface XenDriver {
  /** XENMEM_populate_physmap: fresh pages of zeros at frames that have none. */
  populate(firstFrame: number, count: number): void;
  /** XENMEM_decrease_reservation: the pages go. */
  release(firstFrame: number, count: number): void;
  /** XEN_DMOP_relocate_memory: pages move to other frames; what was there is lost. */
  relocate(sourceFrame: number, count: number, targetFrame: number): void;
  /** XEN_DMOP_set_mem_type. Only ram_rw becomes ioreq_server, and that only ram_rw. */
  setMemoryType(firstFrame: number, count: number, type: XenMemoryType): void;
  /** `xenforeignmemory_map2` over our own pages: they show the domain's, wherever those move. */
  mapOver(hostAddress: bigint, firstFrame: number, count: number): void;
  /** Plain pages again, zero-filled. */
  unmapOver(hostAddress: bigint, count: number): void;
  /** `xenforeignmemory_map`, with an error for each page. */
  map(firstFrame: number, count: number): XenForeignPages;
  /** `xenforeignmemory_unmap`. */
  unmap(pages: XenForeignPages): void;
  /**
   * XEN_DMOP_track_dirty_vram: a bit for each page of one range written since the last call, least
   * first; undefined (ENODATA) if that was for another range. A count of 0 ends it.
   */
  trackDirtyVRAM(firstFrame: number, count: number): Uint32Array | undefined;
  /** XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY, _OFF. It ends the tracking of a range. */
  setLogDirty(isOn: boolean): void;
  /** XEN_DOMCTL_SHADOW_OP_CLEAN of a range: what was written since the last one. */
  cleanLog(firstFrame: number, count: number): Uint32Array;
}
