// What a snapshot may hold. Everything from a store or a registry is held against these before it
// is allocated or looped over; docs/snapshot-format.md lists them.

/** Pages in one blob of RAM: chosen by measurement, docs/snapshot-format.md, "Chosen". */
export const BLOB_PAGES_MAX = 256;
/** A manifest or index, bytes: what common registries take. */
export const MANIFEST_BYTES_MAX = 4 * 2 ** 20;
/** The machine's configuration, bytes. */
export const CONFIG_BYTES_MAX = 2 ** 20;
/** All device state, bytes. */
export const STATE_BYTES_MAX = 32 * 2 ** 20;
/** The page index, bytes. */
export const INDEX_BYTES_MAX = 256 * 2 ** 20;
/** Any blob as it is stored, bytes. */
export const BLOB_BYTES_MAX = 256 * 2 ** 20;
/** Blobs that one snapshot may need. */
export const LAYERS_MAX = 2 ** 15;
/** RAM blocks of a machine. */
export const BLOCKS_MAX = 1024;
/** All RAM of a machine, bytes. */
export const RAM_BYTES_MAX = 2 ** 36;
/** Sections of device state. */
export const SECTIONS_MAX = 4096;
/** Length of a section's name or a block's id, bytes of UTF-8. */
export const NAME_BYTES_MAX = 1024;
/** Saved fields of one section. */
export const FIELDS_MAX = 4096;
/** Values of one list; longer runs are bytes, or a RAM block. */
export const LIST_LENGTH_MAX = 2 ** 22;
/** Snapshots in one store. */
export const TAGS_MAX = 2 ** 14;
/** Length of a tag: OCI distribution specification, "Pulling manifests". */
export const TAG_LENGTH_MAX = 128;
/** What is said of a snapshot and is no part of it, bytes. */
export const ATTACHMENT_BYTES_MAX = 2 ** 20;
