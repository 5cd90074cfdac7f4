/* What Python sees of qvisor_api.h, in the subset of C that cffi reads; the compiler checks it against the header. */
struct qv;
struct qv_config {
	uint64_t ram_limit;
	int nroots;
	int roots[33];
	uint32_t root_flags[33];
	int stdio[3];
	int signals;
	uint64_t hidden_dev, hidden_ino;
	int set_id;
};
struct qk_boot {
	uint64_t ram_bytes, ram_limit;
	uint32_t ring, flags;
	uint32_t argc, envc, nmounts;
	uint32_t uid, gid;
	uint32_t blob_len;
	uint32_t mount_flags[32];
	uint32_t disk_mib;
	uint64_t ignored_signals;
	...;
};
int qv_create(int kvm_fd, uint64_t ram_max, struct qv **out);
int qv_create_names(struct qv **out);
int qv_configure(struct qv *vm, const struct qv_config *config);
void qv_destroy(struct qv *vm);
int qv_check_root(int fd, uint64_t hidden_dev, uint64_t hidden_ino);
int qv_own_mount(int fd, int read_only);
char *qv_ram(struct qv *vm);
int qv_signals(void);
#define QK_SLOT_SIZE ...
#define QK_DOC_SIZE ...
#define QK_BOOT_SIZE ...
#define QK_BOOT_TTY ...
#define QK_BOOT_TRACE ...
#define QK_MOUNT_RO ...
#define QK_MOUNT_FILE ...
#define QK_MOUNT_SLOT ...
enum qk_ring { QK_RING_AUTO, QK_RING_0, QK_RING_3, ... };
size_t qv_state_size(void);
enum { QV_PAGES_READ, QV_PAGES_WRITTEN, ... };
struct qv_page_run {
	uint64_t gfn;
	uint32_t pages;
	uint32_t kind;
};
struct qv_scan_stats {
	uint64_t data_pages, zero_pages, free_pages;
};
int qv_map_image(struct qv *vm, uint64_t ram_bytes, int image_fd, const struct qv_page_run *runs, size_t n);
int qv_uffd(struct qv *vm, const struct qv_page_run *runs, size_t n);
int64_t qv_populate(struct qv *vm, const struct qv_page_run *runs, size_t n);
int qv_recipes_load(struct qv *vm, const void *buf, size_t n);
enum { QV_FILE_STORED, QV_FILE_LOST, QV_FILE_KEPT, QV_FILE_AS_RECORDED, QV_FILE_OTHER, QV_FILE_MISSING, ... };
int qv_files_load(struct qv *vm, int fd, uint64_t offset, uint64_t bytes, int stored_fd);
int64_t qv_files_check(struct qv *vm, uint8_t *state);
int qv_file_open(int root, uint64_t hidden_dev, uint64_t hidden_ino, const char *name);
int64_t qv_volumes_check(struct qv *vm, char *buf, size_t max);
int qp_read_faults(int uffd, uint64_t *addresses, int max);
int qp_wake(int uffd, uint64_t start, uint64_t len);
int qc_connect(int directory);
int qc_pair(int *fds);
int qc_send(int sock, const void *message, size_t n, const int *fds, int nfds);
int64_t qc_receive(int sock, void *buf, size_t max, int *fds, int fds_max);
#define QM_VERSION ...
#define QM_FDS_MAX ...
#define QM_STEPS_MAX ...
#define QM_STEP_NAME ...
static char *const QM_LOST;
enum { QM_ALONE, QM_JSON, QM_UNCONFINED, QM_USERS, ... };
enum {
	QM_BY_CAPABILITIES,
	QM_BY_PRIVILEGES,
	QM_BY_NAMESPACES,
	QM_BY_NETWORK,
	QM_BY_ROOT,
	QM_BY_LIMITS,
	QM_BY_SYSCALLS,
	QM_BY_LANDLOCK,
	QM_BY_MOUNTS,
	...
};
struct qm_machine {
	uint32_t version, flags;
	uint64_t ram_max;
	int32_t kvm;
	int32_t parent;
	int32_t namespaces[4];
};
enum { QM_CLONE, QM_COMPLETE, QM_PREFETCH, QM_POPULATE, QM_AHEAD, ... };
struct qm_prepare {
	uint32_t version, flags;
	int32_t kernel;
	int32_t image, layout;
	int32_t pager;
	uint32_t ring;
};
struct qm_step {
	char name[48];
	uint64_t us;
};
enum { QM_DEBUG, QM_TIMING, QM_TTY, QM_STOPS, QM_WANT_READY, QM_ONCE, QM_ANY_OWNER, QM_MOUNTS, QM_AS_USER, QM_SET_ID, QM_STRICT, ... };
struct qm_assign {
	uint32_t version, flags;
	uint64_t hidden_dev, hidden_ino;
	uint32_t nroots;
	int32_t roots[33];
	uint32_t root_flags[33];
	int32_t stdio[3];
	int32_t text;
	uint32_t document_len;
	struct qk_boot boot;
	uint8_t generation[16];
	int32_t files;
	int32_t contents;
	uint64_t files_bytes;
	uint32_t user, group, ngroups, groups[64];
	int32_t timing_file;
	uint32_t nsteps;
	uint64_t sent_ns;
	struct qm_step steps[8];
};
struct qm_frozen {
	uint32_t version, ring;
	uint64_t ram_bytes, ram_used, cache_dropped, pause_ns;
	uint64_t state_bytes, recipes_bytes;
};
enum { QM_SCAN, QM_HANDLE, QM_PAGES, ... };
struct qm_ask {
	uint32_t op, arg;
};
