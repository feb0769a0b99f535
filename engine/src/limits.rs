//! Every bound of the engine, with its unit and its reason.

use std::time::Duration;

/// Bytes of a file's name. A path component of the common file systems ends at 255 and a path at
/// 4,096; a name beyond that could not be unpacked anywhere.
pub const FILENAME_BYTES_MAX: usize = 4096;

/// Bytes of a file's metadata. One row of the index; larger things are files of their own.
pub const METADATA_BYTES_MAX: usize = 1 << 20;

/// Bytes of a dataset's description, and of its tags. Both are in its header, which every change of the
/// dataset reads and most write anew; what is longer is a file. Rows from before may have up to 1 MiB of
/// each, and keep it.
pub const TEXT_BYTES_MAX: usize = 64 << 10;

/// Subdescriptors of one kind that a licence may have, and that one change may name. The licences
/// of the world make do with a dozen, and a licence is one row of the index.
pub const SUBDESCRIPTORS_MAX: usize = 1000;

/// Access tokens that one user may have: some for each machine. All of them are visited when
/// another is made.
pub const ACCESS_TOKENS_MAX: usize = 100;

/// Bytes of the largest content that travels inside the journal; larger ones get files of their
/// own, since one of them in the shared journal raised the small uploads' p99 from 50 to 500 ms.
pub const INLINE_BYTES_MAX: u64 = 1 << 20;

/// Bytes of contents and texts that one group may carry: what one sync flushes at most.
pub const GROUP_BYTES_MAX: u64 = 8 << 20;

/// Bytes of one write past the page cache, and of the memory that is kept for them; a group that has
/// more is written in several.
pub const DIRECT_WRITE_BYTES_MAX: usize = 8 << 20;

/// Changes in one group; bounds the index transaction that applies it.
pub const GROUP_CHANGES_MAX: usize = 4096;

/// Bytes of the headers that are kept while a group is applied; beyond it they are written before it
/// ends. All that a group's changes usually touch fit.
pub const GROUP_HEADER_BYTES_MAX: usize = 8 << 20;

/// Parts of large changes that one group takes where nobody else wants anything; beside other changes
/// it takes one, so that these wait for no more.
pub const GROUP_PARTS_MAX: usize = 4;

/// Bytes of disk space that the index has set aside beyond what it uses: what deletions and a
/// checkpoint write while another program has taken all the rest of the disk.
pub const INDEX_AHEAD_BYTES: u64 = 4 << 20;

/// Groups that are synced and wait to be applied; so many small ones follow each other while a
/// checkpoint is begun.
pub const GROUPS_AHEAD_MAX: usize = 64;

/// Changes that are synced and not applied when another group is written; beyond it that waits, since
/// readers wait until what was answered of them is applied.
pub const CHANGES_AHEAD_MAX: u64 = 1024;

/// Bytes of such changes, names and metadata above all, beyond which the next group waits, too.
pub const TEXT_BYTES_AHEAD_MAX: u64 = 32 << 20;

/// Rows after which no further group is applied in the same transaction.
pub const ROWS_APPLIED_TOGETHER: u64 = 1024;

/// How long the index thread lets groups gather that are answered already, unless somebody waits.
pub const LINGER: Duration = Duration::from_millis(2);

/// Changes of one dataset that are queued or in flight and not answered; the next one is told to come
/// back.
pub const DATASET_QUEUE_MAX: usize = 4096;

/// Changes of all datasets that are queued for the journal: as many as four groups take, so that
/// the last one waits for no more syncs than that.
pub const CHANGES_QUEUED_MAX: usize = 4 * GROUP_CHANGES_MAX;

/// Bytes of their texts, names, metadata and descriptions: the next change is told to come back. Their
/// contents have a bound of their own.
pub const TEXT_BYTES_QUEUED_MAX: u64 = 32 << 20;

/// Files in one journal record; a larger set travels in parts. Applying so many takes some ten
/// milliseconds beside a million others, for which changes of others wait.
pub const CHANGE_FILES_MAX: usize = 256;

/// Bytes of contents in one part of a large set.
pub const CHANGE_BYTES_MAX: u64 = 4 << 20;

/// Bytes of an encoded value, in the journal or the index; a longer one is damage.
pub const ENCODED_BYTES_MAX: usize = 64 << 20;

/// Numbers tried one by one for a name that ends in a slash before larger steps are taken.
pub const NUMBERS_TRIED_IN_ORDER: u64 = 64;

/// Rows that a plan may visit on an actor's thread, which other datasets share; what needs more is
/// planned on the blocking pool while the dataset stands still.
pub const PLAN_ROWS_MAX: usize = 1024;

/// Layers in a dataset's stack before the background makes it shallow again.
pub const STACK_LAYERS_MAX: usize = 8;

/// Rows that one step of background work reads or writes; bounds how long a group waits for it: beside
/// a million others a row takes some forty microseconds.
pub const BACKGROUND_ROWS_MAX: usize = 256;

/// Large files without a row that one checkpoint lets go of.
pub const LARGE_REMOVED_MAX: usize = 1024;

/// Files that are removed between two groups, which wait for that.
pub const REMOVED_AT_ONCE: usize = 64;

/// Bytes of names and metadata that one step of background work holds in memory.
pub const BACKGROUND_BYTES_MAX: usize = 4 << 20;

/// Attempts of a bulk change whose dataset moves while it is planned, and of a small one that stands on
/// what is refused; the last one of a merge holds its source too.
pub const PLAN_ATTEMPTS_MAX: u32 = 3;

/// Files of a source from which on a merge shares its layers, if few names are in both.
pub const MERGE_LAYERS_FROM: u64 = 4096;

/// Rows that say what holds of names of which both datasets say something, where a merge shares layers: one
/// a name, two where the contents differ. What they hide is so little that nothing is swept for it.
pub const MERGE_ROWS_ABOVE_MAX: usize = CHANGE_FILES_MAX;

/// Files that a content's own row names; those beyond have rows of their own.
pub const NAMINGS_IN_ROW_MAX: usize = 4;

/// Bytes of the names of these files together, if they are more than one: a content's row is to
/// remain a small part of a page.
pub const NAMINGS_IN_ROW_BYTES_MAX: usize = 256;

/// Rows of a source that a merge compares with its target in one snapshot.
pub const APART_ROWS: usize = 1024;

/// How long a message waits in the mailbox of a dataset that stands still before it is taken back.
pub const MAILBOX_WAIT_MAX: Duration = Duration::from_secs(10);

/// How long a bulk change waits for its dataset to stand still, and one that touches two for the other one: for
/// other such changes of it above all, so longer than a plain change does.
pub const HOLD_WAIT_MAX: Duration = Duration::from_secs(30);

/// How long an idle actor stays.
pub const ACTOR_IDLE_MAX: Duration = Duration::from_mins(1);

/// Journal bytes after which the index is checkpointed; bounds replay to about half a second.
pub const CHECKPOINT_JOURNAL_BYTES: u64 = 256 << 20;

/// Rows after which the index is checkpointed; beside a million others, replaying one takes up to
/// forty microseconds, so these take less than a second.
pub const CHECKPOINT_ROWS: u64 = 20_000;

/// The same where checkpoints take long: all changes but new files wait meanwhile. Fewer would write
/// more pages in all, since a page is written by each checkpoint that finds it changed.
pub const CHECKPOINT_ROWS_MIN: u64 = 5_000;

/// How long changes should wait for a checkpoint. Beyond twice that the next one comes after half as
/// many rows, below it after twice as many again.
pub const CHECKPOINT_TIME_AIM: Duration = Duration::from_millis(10);

/// Bytes of pages of a checkpoint that are kept in memory until they are written beside other changes;
/// what is beyond it is written while these wait.
pub const INDEX_PUT_OFF_BYTES_MAX: usize = 32 << 20;

/// Bytes of pages of a checkpoint that are written and synced at a time: a sync of the journal waits for
/// so much at most.
pub const INDEX_SLICE_BYTES: usize = 1 << 20;

/// Time after the first change since the last checkpoint at which the next one is made.
pub const CHECKPOINT_AFTER: Duration = Duration::from_secs(5);

/// Bytes of the uploads in flight that are held in memory, over all clients.
pub const UPLOAD_MEMORY_BYTES: usize = 96 << 20;

/// How long an upload waits for memory before it is told to come back.
pub const UPLOAD_WAIT_MAX: Duration = Duration::from_secs(10);

/// Uploads that wait for memory at a time; the next one is told to come back at once.
pub const UPLOADS_WAITING_MAX: usize = 1024;

/// How long the upload that has waited longest for memory may have waited while others still join
/// it. Beyond that the disk is too far behind for them to wait with sense, whatever its speed.
pub const UPLOAD_LATE_AFTER: Duration = Duration::from_secs(2);

/// Bytes between two syncs of a large upload on its way; bounds what the last one has to flush.
pub const STAGE_SYNC_BYTES: u64 = 8 << 20;

/// Bytes of a response, or of an archive that comes in, that stay in memory before they go to a nameless
/// file.
pub const SPOOL_MEMORY_BYTES: usize = 1 << 20;

/// The same of an archive while upload memory is not plenty.
pub const SPOOL_MEMORY_LEAN_BYTES: usize = 16 << 10;

/// Bytes of all archives that come in, beside [`UPLOAD_MEMORY_BYTES`], that stay in memory until these are
/// added; what finds no room goes to nameless files. Enough for some thousand small files.
pub const SPOOL_KEPT_BYTES_MAX: usize = 48 << 20;

/// Bytes that a read hands on at a time.
pub const READ_CHUNK_BYTES: usize = 256 << 10;

/// Bytes that a read hands on at a time where memory is short, since there are many readers that take
/// their time: what each of them holds is to be less than its connection.
pub const READ_LEAN_CHUNK_BYTES: usize = 16 << 10;

/// How long a lease keeps bytes that died after it began; a download that takes longer may find
/// that a file of it has gone.
pub const LEASE_MAX: Duration = Duration::from_hours(6);

/// How long a backup that is not asked for anything keeps the contents of its state; whoever copies
/// them asks again within seconds.
pub const BACKUP_IDLE_MAX: Duration = Duration::from_mins(30);

/// Contents of one request of a backup: some megabytes of small ones.
pub const BACKUP_BATCH_CONTENTS_MAX: usize = 1024;

/// Bytes of contents after which a backup's request ends: what is asked for again where the
/// connection breaks. A larger content has a request for itself.
pub const BACKUP_BATCH_BYTES: u64 = 32 << 20;

/// Contents of a state that a backup looks for at once, some 70 bytes each.
pub const BACKUP_WINDOW_CONTENTS: usize = 1 << 20;

/// Bytes at which a pack of a backup ends, which is what an interruption may cost at most, beside
/// the content under way; smaller ones would be many files.
pub const PACK_BYTES: u64 = 256 << 20;

/// Contents of a pack; its table is in memory while it is written and while it is restored.
pub const PACK_CONTENTS_MAX: usize = 1 << 17;

/// Files in one intake archive.
pub const INTAKE_FILES_MAX: usize = 1_000_000;

/// Bytes of one file's content.
pub const FILE_BYTES_MAX: u64 = 1 << 40;

/// Share of a segment, in percent, that must be live; below it the rest is moved away.
pub const SEGMENT_LIVE_PERCENT_MIN: u64 = 50;

/// Dead bytes of all segments, in percent of the live ones, beyond which the deadest segments are
/// compacted too, however much of them lives. Heads of groups and padding have not died.
pub const DEAD_PERCENT_MAX: u64 = 20;

/// Segments of an earlier start whose contents are counted before compaction judges again: each has
/// thousands of heads of groups to be read, over as long as that takes once more.
pub const SEGMENTS_COUNTED_AT_ONCE: usize = 4;

/// Bytes of contents that compaction moves at a time: changes of others wait for them.
pub const MOVED_BYTES_MAX: u64 = 1 << 20;

/// Bytes that a content takes in a segment beside its own, once it was moved: its part of the
/// record, generously.
pub const MOVED_CONTENT_EXTRA_BYTES: u64 = 128;

/// Share of a segment, in percent, that moving its live contents must free to be worth it.
pub const COMPACTION_GAIN_PERCENT_MIN: u64 = 10;

/// Bytes that compaction writes for each byte that it frees, at most, unless space is short or
/// somebody asks for it. Each content that moves has a row that follows it, which beside many others is a
/// page of the index ([`INDEX_PAGE_BYTES`]): of very short contents these are nearly all that is written.
pub const COMPACTION_COST_MAX: u64 = 8;

/// Bytes of a page of the index, redb's.
pub const INDEX_PAGE_BYTES: u64 = 4096;

/// How long a dataset stands still for a change that was planned on it; one that takes longer is
/// refused by the expectations that it states.
pub const HOLD_MAX: Duration = Duration::from_mins(10);

/// Bytes that an upload of unknown length holds at first, and the least that a staging file is
/// written in: small enough that thousands of them fit the budget, large enough for most files.
pub const UPLOAD_FIRST_BYTES: usize = 64 << 10;

/// How long a content of up to [`INLINE_BYTES_MAX`] may come while others wait for memory, before it goes
/// on in a file with [`UPLOAD_FIRST_BYTES`] of it: a network that works brings one in far less.
pub const UPLOAD_SLOW_AFTER: Duration = Duration::from_secs(1);

/// Bytes of the shortest content that is kept as it came, where it came in one piece, instead of being
/// copied: a shorter one is as soon copied.
pub const KEPT_PIECE_BYTES_MIN: usize = 16 << 10;

/// Bytes of the longest content that is kept as it came; longer ones hardly ever come in one piece.
pub const KEPT_PIECE_BYTES_MAX: usize = 64 << 10;

/// Bytes of upload memory that a content counts as that is kept as it came: it is a part of what its
/// connection read into, which stays as long as it does. That grows to 112 KiB after large uploads, and
/// with requests made for it to 224.
pub const KEPT_PIECE_MEMORY_BYTES: usize = 256 << 10;

/// Bytes at the start of a content that are looked at to tell whether it compresses; a histogram
/// of them costs a few microseconds.
pub const COMPRESSIBLE_SAMPLE_BYTES: usize = 4 << 10;

/// Bytes that a blocking reader of a spool reads at a time; the members of an archive and its
/// directory are mostly smaller.
pub const SPOOL_READ_BYTES: usize = 64 << 10;

/// How long a member of an archive waits for upload memory before it goes to a file of its own:
/// a little longer than a group of the journal takes, which gives memory back.
pub const INTAKE_MEMORY_WAIT_MAX: Duration = Duration::from_millis(100);

/// Headers of datasets that each state of the index keeps decoded for its readers: as many as are read at
/// once most often.
pub const HEADERS_KEPT_MAX: usize = 16;

/// Bytes of name, texts and stack up to which such a header is kept: states whose readers take their time
/// are kept with all of theirs.
pub const HEADER_KEPT_BYTES_MAX: usize = 1 << 10;

/// Lists of an archive's files that are kept for the next range of the same archive. Each has up
/// to 1 MiB in memory and the rest in a nameless file.
pub const MANIFESTS_KEPT_MAX: usize = 16;

/// Bytes of all lists that are kept, most of them on the disk; a list of a million files has about
/// a hundred million.
pub const MANIFESTS_KEPT_BYTES_MAX: u64 = 128 << 20;

/// Chunks of an archive that wait for a slow client; with the two in the producer's hands they
/// bound an archive to about 1.5 MiB.
pub const ARCHIVE_CHUNKS_MAX: usize = 4;

/// Bytes of an archive's first chunk. Chunks grow from here to [`READ_CHUNK_BYTES`], so that the
/// first byte does not wait for hundreds of small files.
pub const ARCHIVE_FIRST_CHUNK_BYTES: usize = 4 << 10;

/// Bytes that are compressed at a time. Each piece starts without history, which costs a percent
/// or two of the size at this length and lets pieces be compressed side by side.
pub const DEFLATE_PIECE_BYTES: usize = 1 << 20;

/// Bytes of all files in one intake archive together.
pub const INTAKE_BYTES_MAX: u64 = 1 << 40;

/// Bytes of an intake archive's files per byte of the archive. Text and tables come to 5 to 50;
/// a bomb that is made of one long run comes to 1,000, which is all that deflate can do. Whoever
/// has such files may send them one by one, as they are. A tar.gz of unknown length (in chunks, or in a
/// form) that is read while it comes is judged by what has come, any other archive by all of its bytes. Of one whose sender announces more than comes, up to a thousand
/// times what came is unpacked meanwhile, within [`INTAKE_BYTES_MAX`] and the disk, and nothing added.
pub const INTAKE_RATIO_MAX: u64 = 200;

/// Bytes of an intake archive's files up to which no ratio is asked for; they can hurt nobody, and
/// a small monotonous file shrinks more than that.
pub const INTAKE_RATIO_FREE_BYTES: u64 = 64 << 20;

/// Bytes of memory for the names of all archives that have come whole, until they are added: one of a
/// million files whose names have a hundred bytes, or ten of a hundred thousand. Names that merges suffix
/// count as well: of such a merge may have a million and a half.
pub const INTAKE_NAMES_MEMORY_BYTES: u64 = 512 << 20;

/// Bytes of memory for the names of all tars that are taken in while they arrive, as slowly as their
/// senders like: one may have [`INTAKE_NAMES_MEMORY_BYTES`] of them, and does not keep the others out.
pub const INTAKE_STREAMED_NAMES_MEMORY_BYTES: u64 = 640 << 20;

/// Bytes of memory for the names of one archive, or one merge, that do not count: it may have some thousand
/// files whoever has the memory of all.
pub const INTAKE_NAMES_FREE_BYTES: u64 = 1 << 20;

/// Bytes of memory that a file of an archive that comes in takes beside its name.
pub const INTAKE_FILE_MEMORY_BYTES: u64 = 160;

/// Bytes of the dictionary that an lzma member may ask for; it is memory of ours. The presets of
/// the common tools go up to this.
pub const INTAKE_DICTIONARY_BYTES_MAX: u32 = 64 << 20;

/// Bytes of an lzma member's dictionary, or of a zstd member's window, up to which members are unpacked side by
/// side; of those that need more, one at a time, whoever sent it.
pub const INTAKE_DICTIONARY_BYTES_SMALL: u64 = 8 << 20;

/// Bytes of one header of a tar that describes the entry behind it: a long name, or the extended
/// attributes of a file.
pub const INTAKE_TAR_HEADER_BYTES_MAX: usize = 1 << 20;

/// Headers of a tar that describe one and the same entry behind them. Programs write two or three; each
/// costs its sender half a kilobyte and us a look.
pub const INTAKE_TAR_DESCRIPTIONS_MAX: usize = 16;

/// Zeros that may follow a tar's end; programs fill the last record, which can have some megabytes.
pub const INTAKE_TAR_TAIL_BYTES_MAX: usize = 16 << 20;

/// Tars that are taken in while they arrive. Each keeps a thread of the blocking pool and up to
/// [`CHANGE_BYTES_MAX`] of upload memory as long as its sender takes, and its place until it is added; others are
/// spooled first.
pub const INTAKES_STREAMED_MAX: usize = 8;

/// Archives that have come whole, zips and the other tars, and are unpacked and hashed at once, for minutes it
/// may be: each keeps a thread of the blocking pool, and with [`INTAKE_PARTS_AT_ONCE_MAX`] parts as many more.
/// It counts until it is added, for which it may wait for its dataset. Others wait as bulk changes do.
pub const INTAKES_WHOLE_MAX: usize = 8;

/// Bytes of a tar that go to its reader at a time, and how many of them may wait for it.
pub const INTAKE_CHUNK_BYTES: usize = 64 << 10;

/// See [`INTAKE_CHUNK_BYTES`]; together a megabyte.
pub const INTAKE_CHUNKS_MAX: usize = 16;

/// Bytes of an archive's parts that may wait in upload memory while a large member before them, or one that
/// may wait for memory itself, is unpacked: enough for the labels of pictures, and little for all archives together.
pub const INTAKE_WAITING_BYTES_MAX: u64 = 1 << 20;

/// Parts of one archive that are unpacked and hashed side by side.
pub const INTAKE_PARTS_AT_ONCE_MAX: usize = 4;

/// Parts of a large set that are on their way to the journal while the next one is read.
pub const STAGED_PARTS_AHEAD_MAX: usize = 3;

// An extent of ext4 is 128 MiB at most, and four fit the inode (`fs/ext4/ext4_extents.h` of Linux). A
// segment's written and its reserved part are two, and one more while a write makes some of the
// reserved written; where there are more, each write adds a block of extents and takes it away again.
/// Bytes of one journal segment where the file system is large enough; a dead one frees as much.
pub const SEGMENT_BYTES: u64 = 128 << 20;

/// Segments of the journal that are open for reading at a time unless the options say otherwise, 32 GiB
/// of them: a quarter of the 1,024 files that a process may open where nobody has asked for more.
pub const SEGMENTS_OPEN_MAX: usize = 256;

/// Pieces of [`DEFLATE_PIECE_BYTES`] that are compressed, or on their way, ahead of the first of each
/// archive that is packed, over all archives: all that two cores have use for in [`ARCHIVES_MAX`] archives.
pub const PIECES_AHEAD_MAX: usize = 128;

/// Archives that are built at once unless the configuration says otherwise; each keeps a thread of
/// the blocking pool.
pub const ARCHIVES_MAX: usize = 64;

/// Archives that wait for their turn to be built; the next one is told to come back.
pub const ARCHIVES_WAITING_MAX: usize = 64;

/// How long an archive waits for its turn before its reader is told to come back.
pub const ARCHIVE_WAIT_MAX: Duration = Duration::from_secs(10);

/// Lists of files that are made at once for archives: each reads a dataset's rows as fast as it
/// can, so more than a few only disturb each other and the writers.
pub const MANIFESTS_MADE_MAX: usize = 4;

/// How long the reader of an archive may take none of its chunks before it counts as gone, whatever
/// keeps it: a quarter of a megabyte in that time is slower than any line. A client of the server
/// that takes nothing at all has lost its answer long before.
pub const ARCHIVE_STALL_MAX: Duration = Duration::from_mins(10);

/// Bulk changes that are planned at once; each keeps a thread of the blocking pool.
pub const BULK_CHANGES_MAX: usize = 8;

/// Bulk changes that wait for their turn to be planned; the next one is told to come back.
pub const BULK_CHANGES_WAITING_MAX: usize = 64;

/// How long a bulk change waits for its turn: longer than others wait, since an archive that comes
/// in has been sent whole by then.
pub const BULK_CHANGE_WAIT_MAX: Duration = Duration::from_secs(30);

/// How long space that was given back is waited for on a full disk, before one goes on with what is left: by
/// a deletion of many files, each of the two times that it is tried, and by the thread of the journal, with
/// which every change waits; after a wait in vain it waits for none as long.
pub const SPACE_WAIT_MAX: Duration = Duration::from_secs(10);

/// How long those who read an earlier state are waited for on a full disk, whose pages the index does not use
/// again: by the same two, and by the thread of the journal only where a change wants nothing else; most
/// read for a moment only.
pub const READERS_WAIT_MAX: Duration = Duration::from_secs(1);

/// How often what was remembered in memory is written.
pub const TOUCHES_WRITTEN_EVERY: Duration = Duration::from_mins(1);

/// How often the store looks for segments worth compacting.
pub const COMPACTION_PERIOD: Duration = Duration::from_secs(5);

/// Times that a request is sent to actors of its dataset that die before they begin with it; each
/// death is another request's, so more than a few mean that no actor of it can live.
pub const ACTOR_ATTEMPTS_MAX: u32 = 16;

/// Files, layers with a file and datasets with such a layer that are looked at for one content before it
/// counts as not readable: a few milliseconds. Only a content that is everywhere, and mostly where its seeker may
/// not read, comes near; the empty one, as a rule.
pub const NAMINGS_VISITED_MAX: usize = 4096;

/// Headers of datasets that one search for contents remembers, without their texts: some kilobytes each at
/// most.
pub const SEARCHED_DATASETS_MAX: usize = 10_000;

/// Uploads that go on over restarts and are not done, of all users together: each has an open file.
pub const RESUMABLE_UPLOADS_MAX: usize = 1024;

/// The same of one user: more than anybody sends at a time.
pub const RESUMABLE_PER_USER_MAX: usize = 256;

/// Uploads that are remembered when they are done, for clients that missed the answer.
pub const RESUMABLE_DONE_MAX: usize = 4096;

/// How long a request waits for the one before it on the same upload to end, which is told to.
pub const RESUMABLE_TAKE_OVER_MAX: Duration = Duration::from_secs(10);

/// How long an upload that goes on is kept after its last bytes unless the configuration says
/// otherwise: over a weekend.
pub const RESUMABLE_EXPIRE_AFTER: Duration = Duration::from_hours(72);

/// Bytes that all uploads which go on may announce together unless the configuration says
/// otherwise; one user may have half of them, one file of the largest size.
pub const RESUMABLE_BYTES: u64 = 2 << 40;

/// How long an entry of the audit log is kept unless the configuration says otherwise: a year, as
/// those who look into a break-in want to look back.
pub const AUDIT_KEEP: Duration = Duration::from_hours(365 * 24);

/// Bytes that the audit log takes at most unless the configuration says otherwise; some seven million
/// entries.
pub const AUDIT_BYTES: u64 = 1 << 30;

/// Entries of the audit log that one page may visit; a filter may want few of them, and a snapshot
/// is not to be held for longer than that takes.
pub const AUDIT_ROWS_VISITED_MAX: usize = 50_000;

/// How often uploads that came no further are looked for.
pub const RESUMABLE_EXPIRED_EVERY: Duration = Duration::from_mins(1);

/// Names of missing files that an error tells; whoever gave a million names reads no more.
pub const MISSING_NAMES_TOLD_MAX: usize = 10;

/// Rows that one page of a listing may visit; deletions may have left any number of tombstones
/// where it looks, and a snapshot is not to be held for longer than that takes.
pub const LISTING_ROWS_MAX: usize = 20_000;

/// Layers that one fold makes one at most: each step looks into all of them.
pub const FOLD_LAYERS_MAX: usize = 32;

/// Rows that one layer gives to its neighbour however the two compare.
pub const ABSORBED_ROWS_FEW: u64 = 256;

/// Rows that are folded however their layers compare.
pub const FOLD_ROWS_FEW: u64 = 256;

/// Bytes of names and metadata after which a page of a listing ends early.
pub const LISTING_BYTES_MAX: usize = 8 << 20;

/// Rows that layers of a stack may hide from each other, however few files it shows; fewer are not
/// worth the writing. What they name keeps its bytes.
pub const HIDDEN_ROWS_FEW: u64 = 16;

/// Hidden rows of a stack that is a dataset's own, in percent of the files it shows, before they
/// are swept away.
pub const HIDDEN_OWN_PERCENT_MAX: u64 = 10;

/// Hidden rows of a dataset's own stack at which they are swept away, however many files it shows:
/// sweeping costs little more than what was deleted.
pub const HIDDEN_OWN_ROWS_MAX: u64 = 1024;

/// Hidden rows of a stack that others share, in percent of the files it shows, before it is folded
/// into one of its own: that writes a row for every file that is shown.
pub const HIDDEN_SHARED_PERCENT_MAX: u64 = 25;

/// The same of what others go on showing: folding sets none of it free.
pub const HIDDEN_KEPT_PERCENT_MAX: u64 = 300;

/// Findings and notes that a check lists; what is beyond them is only counted. Whoever reads a
/// thousand knows enough.
pub const CHECK_FINDINGS_MAX: usize = 1000;

/// Layers whose stacks a check counts at once, some 40 MiB; more take another pass over the headers.
pub const CHECK_LAYERS_AT_ONCE: usize = 500_000;

/// Stacks of layers, and lower parts of stacks, that a check keeps to count what others add to them;
/// some 10 MiB.
pub const CHECK_PARTS_KEPT_MAX: usize = 65_536;

/// Contents that a check compares one by one where their sums do not agree, some 100 MiB.
pub const CHECK_CONTENTS_EXACT_MAX: usize = 500_000;

/// Rows of contents that a check sorts by their places at once, some 10 MiB.
pub const CHECK_CONTENTS_AT_ONCE: usize = 65_536;

/// Rows of files that name damaged contents and are followed to their datasets; findings say where there were more.
pub const CHECK_HITS_MAX: usize = 100_000;

/// Files that are told for each damaged content.
pub const CHECK_HITS_TOLD_MAX: usize = 10;

/// Contents in quarantine, some 10 MiB of memory; what is found damaged beyond them is refused by
/// each read anew. What a restore lacks beyond them is healed all the same by whoever brings it.
pub const QUARANTINED_MAX: usize = 65_536;

/// Bytes that the scrub reads in a second unless the configuration says otherwise: a terabyte in a
/// day and a half, and little beside what a disk can do.
pub const SCRUB_BYTES_PER_SECOND: u64 = 8 << 20;

/// How long after the beginning of one pass of the scrub the next one begins by itself. Sectors rot
/// over months.
pub const SCRUB_PERIOD: Duration = Duration::from_hours(7 * 24);

/// Contents, and bytes of them, after which the scrub's position is written; what a restart repeats.
pub const SCRUB_PAGE_CONTENTS: usize = 1024;

/// See [`SCRUB_PAGE_CONTENTS`].
pub const SCRUB_PAGE_BYTES: u64 = 256 << 20;

/// Rows that looking for what takes or holds space reads within one snapshot, and names that it
/// keeps: a few hundredths of a second.
pub const USAGE_ROWS_AT_ONCE: usize = 16_384;

/// Datasets that are told one by one of those that take most space.
pub const USAGE_DATASETS_TOLD_MAX: usize = 1000;

/// Layers that datasets share and whose sums are kept while space is measured, some 8 MiB.
pub const USAGE_LAYERS_KEPT_MAX: usize = 100_000;
