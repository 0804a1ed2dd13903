/*
 * Who may write a volume: the ownership protocol of docs/move-protocol.md, for spin. README.md beside this file tells what is
 * covered and what is left out, and how to run it.
 *
 * Three hosts, the control role, one volume, two moves after each other. The network is the set of commands ever sent: each may
 * arrive at any time, any number of times, or never. A party that is down is one that takes no step; a crash loses what is not on
 * disk and may come between any two durable writes. Faults of every kind happen without limit until `calm` is set, at any moment;
 * from then on none does, and every run must come to rest with one writer who holds every acknowledged write.
 *
 * -DRESTORE: the store may be put back to an old copy, once. -DROLLBACK: so may the disk of a host. -DMISSING: a target may lose
 * what it prepared. -DDEAD: it may be lost for good before it takes. -DHANDOVER: nothing is copied, the one disk is detached here and attached there. -DUNDISTURBED: no faults at all, the engine restarts containers all the same. A rule is broken by its -DBREAK_ define.
 */

#ifndef WRITES
#define WRITES 2
#endif
#ifndef MOVES
#define MOVES 2
#endif
#ifndef SNAPS
#define SNAPS 2 /* how often S is taken before the move gives up */
#endif
#define HOSTS 3

mtype:role = { nothing, owner, sealed, released, receiving, prepared, refused, replica, diverged };
mtype:state = { unknown, open, verified, committed, taken_up, done, aborted };
/* What the mover is about; those up to `commit` are also the phases that the store records. */
mtype:step = { down, idle, plan, plan2, quiesce, delta, verify, release, reopen, commit, activate, retire, finish, undoing, giveback };
mtype:reply = { silent, ok, no, changed, gone };

/* Commands, as bits of sent[move]. Those with a step carry the number k of the final snapshot: bit + k - 1. */
#define BEGIN_S 0
#define BEGIN_T 1
#define SEAL    2
#define SNAP    3
#define PREPARE 5
#define REOPEN  7
#define RELEASE 9
#define ACTIVATE 11
#define RETIRE  12
#define FINISH  13
#define UNDO    14
#define UNDO_STORED 15
#define REFUSE  16
#define NOTHING 31 /* asked for */
#define NOBODY  30 /* asked */

/* What each host has on disk, and whether a writer has the volume mounted. */
typedef Host {
  mtype:role role;
  byte epoch;    /* of the record: the last one that it owned or was superseded at */
  byte seen;     /* ledger: the highest epoch heard of */
  byte ended;    /* ledger: bit mv: move mv has ended here */
  byte move;     /* the move that the role belongs to; 0: none */
  byte snap;     /* the final snapshot of the record, by number; on a target also one given up */
  byte data;     /* how many writes the live dataset holds */
  bit mounted;
#ifdef BREAK_SYNC
  bit loose;     /* told, not yet on disk */
#endif
#ifdef HANDOVER
  byte notes;    /* of the disk: 0: none; MARKED: of one that is on its way from here, or to here; OWN */
#endif
#ifdef MISSING
  bit lost       /* the dataset that was prepared is not there any more */
#endif
};
Host H[HOSTS];

/* The store. */
byte s_owner, s_epoch = 1, s_reserved = 1, s_open;
mtype:state r_state[3];
mtype:step r_phase[3];
bit r_cancel[3];
byte r_snap[3];

/* A move's command: fixed when it begins, whatever the store forgets. */
byte made;
byte source[3], target[3], epoch[3];
#define RETURN(mv) (epoch[mv] + 1)
int sent[3];
byte returned[3]; /* the epoch at which an abort gave the volume back */
byte chosen[3];   /* the snapshot that was committed, as `activate` names it */

/* Final snapshots on the source, read-only: writes held + 1; 0: not taken. Index 2m + k. */
byte taken[7];
#define TAKEN(mv, k) taken[2 * (mv) + (k)]

/* The mover: volatile. */
mtype:step pc = idle;
byte c_move;
byte c_wait = NOTHING;
mtype:reply answer = silent;

#ifdef UNDISTURBED
bit calm = 1;
#else
bit calm;
#endif
byte acked; /* ghost: writes acknowledged */

#ifdef HANDOVER
/* The one disk, which the cloud attaches to one host at a time. */
byte disk;         /* how many writes it holds */
byte attached = 1; /* the host + 1; 0: to none */
bit detaching;     /* asked for: it ends at some time, when the disk is not mounted there */
#define DATA(h) disk
#define HAS_IT(h) (attached == (h) + 1)
#define MARKED 1
#define OWN 2
#define KEEP(h) H[h].notes = OWN
#define FORGET(h) H[h].notes = 0
#define LEAVES(h) (H[h].notes == MARKED && (!HAS_IT(h) || detaching))
/* Notes that are not marked go with what they are about. */
#define REMOVE(h) if :: H[h].notes == OWN -> disk = 0 :: else fi; FORGET(h)
#else
#define DATA(h) H[h].data
#define KEEP(h) skip
#define FORGET(h) skip
#define REMOVE(h) H[h].data = 0
#endif

#define SENT(mv, x) ((sent[mv] >> (x)) & 1)
#define ASKED(mv, x) (c_move == (mv) && c_wait == (x) && answer == silent)
#define ENDED(h, mv) ((H[h].ended >> (mv)) & 1)
#ifdef BREAK_STALE
#define STALE(h, mv) 0
#define GONE(h, mv) 0
#else
#define STALE(h, mv) (ENDED(h, mv) || RETURN(mv) < H[h].seen)
#define GONE(h, mv) ENDED(h, mv)
#endif
#ifdef ROLLBACK
/* The disk of one host is saved when it owns the volume, and put back later. */
byte rolled_back, saved_of, saved_epoch, saved_seen, saved_ended, saved_data;
#define AT_RISK(h) (saved_of == (h) + 1)
#define ENDED_FOR_GOOD(h, mv) (ENDED(h, mv) && (!AT_RISK(h) || ((saved_ended >> (mv)) & 1)))
#define STALE_FOR_GOOD(h, mv) (STALE(h, mv) && (!AT_RISK(h) || ((saved_ended >> (mv)) & 1) || RETURN(mv) < saved_seen))
#else
#define ENDED_FOR_GOOD(h, mv) ENDED(h, mv)
#define STALE_FOR_GOOD(h, mv) STALE(h, mv)
#endif
#define MAX(a, b) ((a) > (b) -> (a) : (b))

#ifdef RESTORE
/* Hosts remember the store's commit sequence. Of the numbers only this counts: has one of them heard of the last change. */
bit unheard;    /* the last change of the store: no host remembers it yet */
byte was_epoch; /* the volume's epoch before that change */
bit restored;   /* the store has been put back */
#ifdef BREAK_REMEMBER
#define ONE_UNHEARD skip
#else
#define ONE_UNHEARD assert(!unheard)     /* put_back_unnoticed rests on it */
#endif
#define CHANGE if :: !restored -> ONE_UNHEARD; unheard = 1 :: else fi
#define HEARD !unheard
#else
#define CHANGE skip
#define HEARD 1
#endif

inline reply_with(mv, x, r) { if :: ASKED(mv, x) -> answer = r :: else fi }

/* What makes no difference any more is forgotten, so that states which differ in nothing else are one. A host obeys nothing that comes
   late of a move that has ended there, or of one before a move that it has heard of. */
#ifdef BREAK_STALE
#define TO_SOURCE 0
#define TO_TARGET 0
#define LATE(mv) 0
inline forget(mv) { skip }
#else
#define TO_SOURCE (1 << BEGIN_S | 1 << SEAL | 3 << SNAP | 3 << RELEASE | 1 << RETIRE | 1 << UNDO)
#define TO_TARGET (1 << BEGIN_T | 3 << PREPARE | 3 << REOPEN | 1 << ACTIVATE | 1 << FINISH)
#define DEAF(h, mv) (H[h].move != (mv) && STALE_FOR_GOOD(h, mv))
#define LATE(mv) ((DEAF(source[mv], mv) -> TO_SOURCE : 0) | (DEAF(target[mv], mv) -> TO_TARGET : 0))

/* Of a move that has ended in the store only that it did; when it has on both hosts, not even how. */
inline forget(mv) {
  if
  :: (r_state[mv] == aborted || r_state[mv] == done) && HEARD ->
     r_cancel[mv] = 0;
     r_phase[mv] = idle;
     r_snap[mv] = 0
  :: else
  fi;
  if
  :: (r_state[mv] == aborted || r_state[mv] == done) && HEARD && ENDED_FOR_GOOD(source[mv], mv) && ENDED_FOR_GOOD(target[mv], mv) ->
     sent[mv] = 1 << UNDO_STORED;
     TAKEN(mv, 1) = 0;
     TAKEN(mv, 2) = 0;
     chosen[mv] = 0;
     returned[mv] = 0;
     r_state[mv] = done
  :: else
  fi
}
#endif
#ifdef ROLLBACK
inline forget_saved() { saved_of = 0; saved_epoch = 0; saved_seen = 0; saved_ended = 0; saved_data = 0 }
#endif
inline forget_late() { sent[1] = sent[1] & ~LATE(1); sent[2] = sent[2] & ~LATE(2) }

inline hear(h, mv) { H[h].seen = MAX(H[h].seen, RETURN(mv)) }

inline has_ended(h, mv, commands) {
  H[h].ended = H[h].ended | (1 << (mv));
  H[h].move = 0;
  H[h].snap = 0;
  hear(h, mv);
  sent[mv] = (STALE_FOR_GOOD(h, mv) -> sent[mv] & ~(commands) : sent[mv]);
  forget(mv)
}

/* ---- A host as the source of move mv ---------------------------------------------------------------------------------------- */

#define GOT_S(h, mv, x) (source[mv] == (h) && SENT(mv, x))
#define ASKED_S(h, mv, x) (source[mv] == (h) && ASKED(mv, x))
#define MINE(h, mv) (H[h].move == (mv))
#define CAN_BEGIN_S(h, mv) (!STALE(h, mv) && (MINE(h, mv) || (H[h].role == owner && H[h].move == 0)))
#if defined(PULL) && !defined(BREAK_STEAL)
#define IDLE_OR_SEALED(h) (H[h].role == sealed || (H[h].role == owner && !H[h].mounted))
#else
#define IDLE_OR_SEALED(h) (H[h].role == sealed || H[h].role == owner)
#endif
#define CAN_SEAL(h, mv) (!STALE(h, mv) && MINE(h, mv) && IDLE_OR_SEALED(h))
#ifdef BREAK_STEP
#define CAN_SNAP(h, mv, k) (!STALE(h, mv) && MINE(h, mv) && H[h].role == sealed)
#else
#define CAN_SNAP(h, mv, k) (!STALE(h, mv) && MINE(h, mv) && H[h].role == sealed && (k) >= H[h].snap)
#endif
#ifdef UNDISTURBED
#define WRITERS_STOPPED(h) !H[h].mounted
#else
#define WRITERS_STOPPED(h) 1 /* paused ones may be thawed by anybody */
#endif
#define CAN_RELEASE(h, mv) (!STALE(h, mv) && MINE(h, mv) && (H[h].role == sealed || H[h].role == released))
#ifdef BREAK_PROOF
#define UNCHANGED(h, mv, k) (H[h].snap == (k))
#else
#define UNCHANGED(h, mv, k) (H[h].snap == (k) && TAKEN(mv, k) == H[h].data + 1)
#endif
#ifdef BREAK_KILL
#define STOP_WRITER(h) skip
#else
#define STOP_WRITER(h) H[h].mounted = 0
#endif
#ifdef BREAK_TIMEOUT
#define CAN_UNDO(h) 1
#else
#define CAN_UNDO(h) (H[h].role == owner || H[h].role == sealed)
#endif
#ifdef BREAK_SUPERSEDED
#define SUPERSEDED(h, mv) 0
#else
#define SUPERSEDED(h, mv) (MINE(h, mv) && (((H[h].role == owner || H[h].role == sealed) && H[h].epoch < epoch[mv]) || H[h].role == diverged))
#endif
#define WOULD_RELEASE(h, mv, k) (H[h].role == sealed && (H[h].mounted || UNCHANGED(h, mv, k)))

/* Owner again: first the role, then the end of the move. A crash may come between. */
inline undo(h, mv, x, at) {
  H[h].role = owner;
  H[h].epoch = MAX(H[h].epoch, at);
  H[h].snap = 0;
  if
  :: KEEP(h); has_ended(h, mv, TO_SOURCE); reply_with(mv, x, ok)
  :: !calm
  fi
}

/* With the number k of the final snapshot. */
inline source_with(h, mv, k) {
  if
  :: GOT_S(h, mv, SNAP + k) && CAN_SNAP(h, mv, k + 1) && WRITERS_STOPPED(h) && (TAKEN(mv, k + 1) == 0 || H[h].snap != k + 1 || ASKED(mv, SNAP + k)) ->
     if :: TAKEN(mv, k + 1) == 0 -> TAKEN(mv, k + 1) = H[h].data + 1 :: else fi;
     H[h].snap = k + 1;
     hear(h, mv);
     reply_with(mv, SNAP + k, ok)
  :: ASKED_S(h, mv, SNAP + k) && !CAN_SNAP(h, mv, k + 1) -> answer = no

#ifdef HANDOVER
     /* Kill what was paused, unmount, mark, detach; only when the disk has gone `released` is written. */
  :: GOT_S(h, mv, RELEASE + k) && CAN_RELEASE(h, mv) && H[h].role == sealed && H[h].snap == k + 1 && !LEAVES(h) ->
     hear(h, mv);
     STOP_WRITER(h);
     H[h].notes = MARKED;
#ifdef BREAK_LETGO
     H[h].role = released; reply_with(mv, RELEASE + k, ok)
#else
     detaching = (HAS_IT(h) -> 1 : detaching)
#endif
  :: GOT_S(h, mv, RELEASE + k) && CAN_RELEASE(h, mv) && H[h].role == sealed && H[h].snap == k + 1 && LEAVES(h) && !HAS_IT(h) ->
     H[h].role = released;
     reply_with(mv, RELEASE + k, ok)
  :: ASKED_S(h, mv, RELEASE + k) && CAN_RELEASE(h, mv) && H[h].role == released -> answer = ok
  :: ASKED_S(h, mv, RELEASE + k) && CAN_RELEASE(h, mv) && H[h].role == sealed && H[h].snap != k + 1 -> answer = changed
#else
     /* Kill what was paused, unmount, then the unchanged proof: only then `released` is written. */
  :: GOT_S(h, mv, RELEASE + k) && CAN_RELEASE(h, mv) && (WOULD_RELEASE(h, mv, k + 1) || ASKED(mv, RELEASE + k)) ->
     hear(h, mv);
     if
     :: H[h].role == released -> reply_with(mv, RELEASE + k, ok)
     :: else ->
        STOP_WRITER(h);
        if
        :: UNCHANGED(h, mv, k + 1) -> H[h].role = released; reply_with(mv, RELEASE + k, ok)
        :: else -> reply_with(mv, RELEASE + k, changed)
        fi
     fi
#endif
  :: ASKED_S(h, mv, RELEASE + k) && !CAN_RELEASE(h, mv) -> answer = no
  fi
}

inline source_of(h, mv) {
  if
  :: GOT_S(h, mv, BEGIN_S) && CAN_BEGIN_S(h, mv) && (!MINE(h, mv) || ASKED(mv, BEGIN_S)) ->
     hear(h, mv);
     H[h].move = mv;
     forget_late();
     reply_with(mv, BEGIN_S, ok)
  :: ASKED_S(h, mv, BEGIN_S) && !CAN_BEGIN_S(h, mv) -> answer = no

  :: GOT_S(h, mv, SEAL) && CAN_SEAL(h, mv) && (H[h].role == owner || ASKED(mv, SEAL)) ->
#ifdef PULL
     assert(!H[h].mounted);           /* a Mount elsewhere stops nobody */
#endif
     hear(h, mv);
     H[h].role = sealed;
     reply_with(mv, SEAL, ok)
  :: ASKED_S(h, mv, SEAL) && !CAN_SEAL(h, mv) -> answer = no

  :: GOT_S(h, mv, UNDO) && MINE(h, mv) && !GONE(h, mv) && CAN_UNDO(h) -> undo(h, mv, UNDO, 0)
  :: ASKED_S(h, mv, UNDO) && (!MINE(h, mv) || GONE(h, mv)) -> answer = ok
  :: ASKED_S(h, mv, UNDO_STORED) && (!MINE(h, mv) || GONE(h, mv)) -> answer = ok
  :: ASKED_S(h, mv, UNDO) && MINE(h, mv) && !CAN_UNDO(h) -> answer = no
  :: GOT_S(h, mv, UNDO_STORED) && MINE(h, mv) && !GONE(h, mv) && (H[h].role != replica) -> undo(h, mv, UNDO_STORED, returned[mv])

  :: GOT_S(h, mv, RETIRE) && !GONE(h, mv) && MINE(h, mv) && (H[h].role == released || H[h].role == replica) ->
     H[h].role = replica;
     H[h].epoch = epoch[mv];
     if :: has_ended(h, mv, TO_SOURCE); REMOVE(h); reply_with(mv, RETIRE, ok) :: !calm fi
     /* It was put back to before the move, and begins or seals at a late word: the host that owns the volume now has it at a higher epoch. */
  :: GOT_S(h, mv, RETIRE) && !GONE(h, mv) && SUPERSEDED(h, mv) ->
     H[h].role = diverged;
     if :: has_ended(h, mv, TO_SOURCE); H[h].data = 0; reply_with(mv, RETIRE, ok) :: !calm fi
  :: ASKED_S(h, mv, RETIRE) && (GONE(h, mv) || !MINE(h, mv)) -> answer = ok
  fi
}

/* ---- A host as the target of move mv ---------------------------------------------------------------------------------------- */

#define GOT_T(h, mv, x) (target[mv] == (h) && SENT(mv, x))
#define ASKED_T(h, mv, x) (target[mv] == (h) && ASKED(mv, x))
#define OWNS_BY(h, mv) (H[h].role == owner && H[h].epoch == epoch[mv])
#define FREE(h) (H[h].role == nothing || H[h].role == replica || H[h].role == refused)
#define CAN_BEGIN_T(h, mv) (!STALE(h, mv) && (MINE(h, mv) || FREE(h)))
#ifdef BREAK_STEP
#define CAN_PREPARE(h, mv, k) (!STALE(h, mv) && MINE(h, mv) && TAKEN(mv, k) != 0 && (H[h].role == receiving || H[h].role == prepared))
#define CAN_REOPEN(h, mv, k) (!STALE(h, mv) && MINE(h, mv) && (H[h].role == receiving || H[h].role == prepared))
#define CAN_ACTIVATE(h, mv, k) (!STALE(h, mv) && MINE(h, mv) && (H[h].role == owner || (H[h].role == prepared && IS_THERE(h))))
#else
/* Only a later snapshot replaces one that was prepared or given up; only the one that is named is given up, or taken. */
#define CAN_PREPARE(h, mv, k) (!STALE(h, mv) && MINE(h, mv) && TAKEN(mv, k) != 0 && \
  ((H[h].role == receiving && (k) > H[h].snap) || (H[h].role == prepared && (k) >= H[h].snap)))
#define CAN_REOPEN(h, mv, k) (!STALE(h, mv) && MINE(h, mv) && \
  ((H[h].role == receiving && (k) >= H[h].snap) || (H[h].role == prepared && (k) == H[h].snap)))
#define CAN_ACTIVATE(h, mv, k) (!STALE(h, mv) && MINE(h, mv) && (H[h].role == owner || (H[h].role == prepared && (k) == H[h].snap && IS_THERE(h))))
#endif

#if defined(BREAK_STREAM)
#define ARRIVED(h) if :: skip :: H[h].data = 0 fi
#elif defined(BREAK_SYNC)
#define ARRIVED(h) H[h].loose = 1
#else
#define ARRIVED(h) skip
#endif

inline target_with(h, mv, k) {
  if
     /* The stream of S arrives and is proved; a writable dataset of it, synced, then the record. */
  :: GOT_T(h, mv, PREPARE + k) && CAN_PREPARE(h, mv, k + 1) &&
     (H[h].role != prepared || H[h].snap != k + 1 || ASKED(mv, PREPARE + k)) ->
     hear(h, mv);
     if
     :: H[h].role == prepared && H[h].snap == k + 1
     :: else ->
        H[h].role = prepared;
        H[h].snap = k + 1;
#ifdef HANDOVER
        H[h].notes = MARKED
#else
        H[h].data = TAKEN(mv, k + 1) - 1;
        ARRIVED(h)
#endif
     fi;
     reply_with(mv, PREPARE + k, ok)
  :: ASKED_T(h, mv, PREPARE + k) && !CAN_PREPARE(h, mv, k + 1) -> answer = no

  :: GOT_T(h, mv, REOPEN + k) && CAN_REOPEN(h, mv, k + 1) && (H[h].role == prepared || ASKED(mv, REOPEN + k)) ->
     H[h].role = receiving;
     FORGET(h);
     H[h].data = 0;
     reply_with(mv, REOPEN + k, ok)
  :: ASKED_T(h, mv, REOPEN + k) && !CAN_REOPEN(h, mv, k + 1) -> answer = no
  fi
}

#ifdef MISSING
#define LOST(h) H[h].lost
#ifdef BREAK_MISSING
#define IS_THERE(h) 1
#define MADE_ANEW(h) if :: H[h].lost -> H[h].data = 0; H[h].lost = 0 :: else fi
#else
#define IS_THERE(h) !H[h].lost
#define MADE_ANEW(h) skip
#endif
#define WITHOUT_LOSS(h) H[h].lost = 0
#else
#define LOST(h) 0
#define IS_THERE(h) 1
#define MADE_ANEW(h) skip
#define WITHOUT_LOSS(h) skip
#endif

#ifdef HANDOVER
/* What it has begun to detach it waits for. */
#define MAY_REFUSE(h, mv) !(MINE(h, mv) && H[h].role == refused && HAS_IT(h) && detaching)
#else
#define MAY_REFUSE(h, mv) 1
#endif

inline target_of(h, mv) {
  if
  :: GOT_T(h, mv, BEGIN_T) && CAN_BEGIN_T(h, mv) && (!MINE(h, mv) || ASKED(mv, BEGIN_T)) ->
     if
     :: MINE(h, mv)
     :: else -> hear(h, mv); H[h].move = mv; H[h].role = receiving; H[h].snap = 0; H[h].data = 0; FORGET(h); forget_late()
     fi;
     reply_with(mv, BEGIN_T, ok)
  :: ASKED_T(h, mv, BEGIN_T) && !CAN_BEGIN_T(h, mv) -> answer = no

#ifdef HANDOVER
     /* Attached first, then `owner`, then the mark goes; a crash may come between any two. */
  :: GOT_T(h, mv, ACTIVATE) && CAN_ACTIVATE(h, mv, chosen[mv]) && H[h].role == prepared && attached == 0 -> attached = h + 1; detaching = 0
#ifdef BREAK_MARK
  :: GOT_T(h, mv, ACTIVATE) && CAN_ACTIVATE(h, mv, chosen[mv]) && H[h].role == prepared && HAS_IT(h) && H[h].notes == MARKED -> KEEP(h)
  :: GOT_T(h, mv, ACTIVATE) && CAN_ACTIVATE(h, mv, chosen[mv]) && ((H[h].role == prepared && HAS_IT(h) && !detaching && H[h].notes == OWN) || (H[h].role == owner && ASKED(mv, ACTIVATE))) ->
#else
  :: GOT_T(h, mv, ACTIVATE) && CAN_ACTIVATE(h, mv, chosen[mv]) && ((H[h].role == prepared && HAS_IT(h) && !detaching) || (H[h].role == owner && ASKED(mv, ACTIVATE))) ->
#endif
  /* Another has it, or it is on its way off. */
#define TAKES_NOT(h) (H[h].role == prepared && attached != 0 && (!HAS_IT(h) || detaching))
     if
     :: H[h].role == owner
     :: else -> H[h].role = owner; H[h].epoch = epoch[mv]
     fi;
     if :: KEEP(h); reply_with(mv, ACTIVATE, ok) :: !calm fi
  :: ASKED_T(h, mv, ACTIVATE) && CAN_ACTIVATE(h, mv, chosen[mv]) && TAKES_NOT(h) -> answer = no
#else
  :: GOT_T(h, mv, ACTIVATE) && CAN_ACTIVATE(h, mv, chosen[mv]) && (H[h].role == prepared || ASKED(mv, ACTIVATE)) ->
     if
     :: H[h].role == owner
     :: else -> H[h].role = owner; H[h].epoch = epoch[mv]; MADE_ANEW(h)
     fi;
     reply_with(mv, ACTIVATE, ok)
#endif
  :: ASKED_T(h, mv, ACTIVATE) && !CAN_ACTIVATE(h, mv, chosen[mv]) && LOST(h) -> answer = gone
  :: ASKED_T(h, mv, ACTIVATE) && !CAN_ACTIVATE(h, mv, chosen[mv]) && !LOST(h) -> answer = no

  :: GOT_T(h, mv, FINISH) && MINE(h, mv) && !GONE(h, mv) && H[h].role == owner -> has_ended(h, mv, TO_TARGET); reply_with(mv, FINISH, ok)
  :: ASKED_T(h, mv, FINISH) && (GONE(h, mv) || !MINE(h, mv)) -> answer = ok

  :: GOT_T(h, mv, REFUSE) && !GONE(h, mv) && !(MINE(h, mv) && H[h].role == owner) && (MINE(h, mv) || H[h].seen <= RETURN(mv)) && MAY_REFUSE(h, mv) ->
     if
#ifdef HANDOVER
     :: MINE(h, mv) && HAS_IT(h) -> H[h].role = refused; detaching = 1
     :: MINE(h, mv) && !HAS_IT(h) -> H[h].role = refused; if :: has_ended(h, mv, TO_TARGET); H[h].role = nothing; REMOVE(h); reply_with(mv, REFUSE, ok) :: !calm fi
#else
     :: MINE(h, mv) -> H[h].role = refused; if :: has_ended(h, mv, TO_TARGET); H[h].role = nothing; H[h].data = 0; WITHOUT_LOSS(h); reply_with(mv, REFUSE, ok) :: !calm fi
#endif
     :: else -> H[h].ended = H[h].ended | (1 << (mv)); hear(h, mv); forget_late(); forget(mv); reply_with(mv, REFUSE, ok)
     fi
  :: ASKED_T(h, mv, REFUSE) && GONE(h, mv) && !OWNS_BY(h, mv) -> answer = ok
  :: ASKED_T(h, mv, REFUSE) && OWNS_BY(h, mv) -> answer = no
  fi
}

#ifdef MISSING
bit any_lost;
#endif
#ifdef DEAD
byte dead; /* the host that is lost for good, machine and disk, + 1 */
#define IS_DEAD(h) (dead == (h) + 1)
/* Spin allows no argument of a process in it; `init` starts hosts as 1 to 3, engines as 4 to 6. */
#define LIVES(n) provided (dead != n)
#else
#define LIVES(n)
#define IS_DEAD(h) 0
#endif

/* ---- The engine, the writer and the watchdog of a host ------------------------------------------------------------------------ */

#define MOUNTED (H[0].mounted + H[1].mounted + H[2].mounted)
#ifdef BREAK_SEAL
#define MAY_MOUNT(h) (H[h].role == owner || H[h].role == sealed)
#else
#define MAY_MOUNT(h) (H[h].role == owner && TRUSTED(h) && CAN_HAVE(h))
#endif
#ifdef HANDOVER
/* From who is dead it may be forced. */
#ifdef DEAD
#define CAN_HAVE(h) (attached == 0 || HAS_IT(h) || attached == dead)
#else
#define CAN_HAVE(h) (attached == 0 || HAS_IT(h))
#endif
#define ATTACH(h) if :: HAS_IT(h) :: else -> attached = h + 1; detaching = 0 fi; KEEP(h)
#define STILL_THERE(h) assert(HAS_IT(h))   /* what is mounted is taken from nobody */
#else
#define CAN_HAVE(h) 1
#define ATTACH(h) skip
#define STILL_THERE(h) skip
#endif
#if defined(ROLLBACK) && !defined(BREAK_ASK)
/* The first mount after a boot asks the others and the store's table who owned it since. */
#define OWNED_LATER(h, o) ((o) != (h) && H[o].epoch > H[h].epoch)
#define TRUSTED(h) (rolled_back != (h) + 1 || !(OWNED_LATER(h, 0) || OWNED_LATER(h, 1) || OWNED_LATER(h, 2) || \
  (s_owner != (h) && s_epoch > H[h].epoch)))
#else
#define TRUSTED(h) 1
#endif
/* The control role calls a source that is sealed or released every few seconds. */
#define HEARS_CONTROL(h) (c_move == H[h].move && (pc == quiesce || pc == delta || pc == verify || pc == release || pc == reopen || \
  pc == commit || pc == activate || pc == retire))
#define CUT_OFF(h, mv) (H[h].move == (mv) && !(calm && HEARS_CONTROL(h)))
#define OUT_OF_REACH(h, mv) (CUT_OFF(h, mv) && H[h].role == released)
#ifdef BREAK_TIMEOUT
#define WAITING(h) (H[h].role == sealed || H[h].role == released)
#else
#define WAITING(h) (H[h].role == sealed)
#endif

#ifdef BREAK_ALONE
#define HAS_REFUSED(h, mv) 1
#else
/* A target that has heard of what came after does not answer for it: whoever asks has lost his memory. */
#define HAS_REFUSED(h, mv) (ENDED(h, mv) && !OWNS_BY(h, mv) && H[h].seen <= RETURN(mv))
#endif

/* A source that hears no more from the control role. A seal is its own to end; released, it asks the target to refuse, and is owner again
   once it has heard that this was written. */
inline cut_off(h, mv) {
  if
  :: CUT_OFF(h, mv) && WAITING(h) -> undo(h, mv, NOBODY, 0)
  :: OUT_OF_REACH(h, mv) && !SENT(mv, REFUSE) -> sent[mv] = sent[mv] | (1 << REFUSE)
  :: OUT_OF_REACH(h, mv) && SENT(mv, REFUSE) && HAS_REFUSED(target[mv], mv) -> undo(h, mv, NOBODY, RETURN(mv))
  fi
}

/* A Docker engine, which restarts containers by itself at any time (people start others): each writes once it has the volume mounted. */
proctype engine(byte h) LIVES(_pid - 3) {
end:
  do
  :: atomic { !H[h].mounted && MAY_MOUNT(h) ->
       ATTACH(h);
       H[h].mounted = 1;
       assert(MOUNTED == 1);          /* never two writers */
       assert(DATA(h) == acked)       /* no acknowledged write is lost */
     }
     /* A sealed source stops its writers; before that they end, or the power fails. */
  :: atomic { H[h].mounted && (H[h].role == sealed || !calm) -> H[h].mounted = 0 }
     /* Also under the seal: what is paused may be thawed by anybody. */
  :: atomic { H[h].mounted && acked < WRITES -> STILL_THERE(h); DATA(h)++; acked = DATA(h) }
  od
}

proctype host(byte h) LIVES(_pid) {
end:
  do
  :: atomic { cut_off(h, 1) }
#if MOVES > 1
  :: atomic { cut_off(h, 2) }
#endif
#ifdef HANDOVER
     /* By the cloud, at its time. */
  :: atomic { HAS_IT(h) && detaching && !H[h].mounted -> attached = 0; detaching = 0 }
#endif
#ifdef MISSING
  :: atomic { H[h].role == prepared && !calm && !any_lost -> any_lost = 1; H[h].lost = 1 }
#endif
#ifdef DEAD
  :: atomic { H[h].role == prepared && !calm && dead == 0 -> dead = h + 1 }
#endif
#ifdef ROLLBACK
     /* The disk of a host that owns the volume is saved, and put back when it has moved away. */
  :: atomic { saved_of == 0 && rolled_back == 0 && !calm && H[h].role == owner && H[h].move == 0 ->
       saved_of = h + 1;
       saved_epoch = H[h].epoch;
       saved_seen = H[h].seen;
       saved_ended = H[h].ended;
       saved_data = H[h].data
     }
  :: atomic { saved_of == h + 1 && !calm && H[h].move == 0 && (H[h].role == nothing || H[h].role == replica) &&
       (s_open == 0 || target[s_open] != h) ->
       rolled_back = h + 1;
       H[h].role = owner;
       H[h].epoch = saved_epoch;
       H[h].seen = saved_seen;
       H[h].ended = saved_ended;
       H[h].data = saved_data;
       forget_saved();
       H[h].snap = 0;
       forget_late();
       forget(1);
       forget(2)
     }
#endif
#ifdef BREAK_SYNC
  :: atomic { H[h].loose && !calm -> H[h].loose = 0; H[h].data = 0 }
#endif
  :: atomic { source_of(h, 1) }
  :: atomic { source_with(h, 1, 0) }
#if SNAPS > 1
  :: atomic { source_with(h, 1, 1) }
  :: atomic { target_with(h, 1, 1) }
#endif
  :: atomic { target_of(h, 1) }
  :: atomic { target_with(h, 1, 0) }
#if MOVES > 1
  :: atomic { source_of(h, 2) }
  :: atomic { source_with(h, 2, 0) }
  :: atomic { target_of(h, 2) }
  :: atomic { target_with(h, 2, 0) }
#if SNAPS > 1
  :: atomic { source_with(h, 2, 1) }
  :: atomic { target_with(h, 2, 1) }
#endif
#endif
  od
}

/* ---- The control role ------------------------------------------------------------------------------------------------------- */

#define BEFORE_COMMIT (pc == plan || pc == plan2 || pc == quiesce || pc == delta || pc == verify || pc == release || pc == reopen)
#define RELEASED_IN(h, mv) (H[h].role == released && H[h].move == (mv))
#define M c_move
#define K r_snap[c_move]

#ifndef RESTORE
#define REMEMBER skip
#elif defined(BREAK_REMEMBER)
#define REMEMBER skip
#elif defined(BREAK_BEHIND) || defined(BREAK_RECOVER)
#define REMEMBER unheard = 0
#else
#define REMEMBER unheard = 0; was_epoch = 0
#endif

/* What the store has changed is remembered by a host before any command follows from it. */
inline send(mv, x) { REMEMBER; sent[mv] = (sent[mv] | 1 << (x)) & ~LATE(mv) }
inline call(next, x) { send(M, x); pc = next; c_wait = x; answer = silent }
inline rest(at) { pc = at; c_move = 0; c_wait = NOTHING; answer = silent }

inline begin(to) {
  made++;
  M = made;
  source[M] = s_owner;
  target[M] = to;
  epoch[M] = s_reserved + 1;
  s_reserved = s_reserved + 2;
  s_open = M;
  r_state[M] = open;
  r_phase[M] = plan;
  K = 1;
  call(plan, BEGIN_S);         /* heard of at once, with what was changed before */
  forget(M - 1)
}

inline enter(phase) {
  r_phase[M] = phase;
  if
  :: phase == plan -> call(plan, BEGIN_S)
  :: phase == quiesce -> call(quiesce, SEAL)
  :: phase == delta -> call(delta, SNAP + K - 1)
  :: phase == verify -> call(verify, PREPARE + K - 1)
  :: phase == release -> r_state[M] = verified; call(release, RELEASE + K - 1)
  :: phase == commit ->
     pc = commit; c_wait = NOTHING; answer = silent;
#ifdef BREAK_COMMIT
     chosen[M] = K; send(M, ACTIVATE)
#endif
  :: else
  fi
}

inline abort(mv, at) {
#ifdef UNDISTURBED
  assert(0);                          /* a move that nothing disturbs is not undone */
#endif
  r_state[mv] = aborted;
  returned[mv] = at;
#ifdef RESTORE
  was_epoch = (restored -> 0 : s_epoch);
#endif
  s_owner = source[mv];
  s_epoch = at;
  s_open = 0;
  CHANGE;
  forget(mv);
  rest(idle)
}
#ifdef BREAK_ABORT_ORDER
#define ABORT_LATE returned[M] = RETURN(M); call(undoing, UNDO_STORED)
#else
#define ABORT_LATE abort(M, RETURN(M))
#endif

/* Before release was recorded the writer is put back first, then the abort is stored; after that the other way round. */
inline undo_move() {
  if
  :: r_phase[M] == release || r_phase[M] == commit -> ABORT_LATE
  :: else -> call(undoing, UNDO)
  fi
}

inline resume() {
  if
  :: s_open == 0 -> rest(idle)
  :: else ->
     M = s_open;
     if
     :: r_state[M] == committed -> call(activate, ACTIVATE)
     :: r_state[M] == taken_up -> call(retire, RETIRE)
     :: else ->
        if
        :: r_cancel[M] -> undo_move()
        :: else -> enter(r_phase[M])
        fi
     fi
  fi
}

#if defined(PULL)
/* A Mount begins a move only when it sees the volume idle; what counts is the look under the lock, at the seal. */
#define MAY_BEGIN !H[s_owner].mounted
#else
#define MAY_BEGIN 1
#endif

#ifdef RESTORE
#define HOLDS(h) (H[h].role == owner || H[h].role == sealed)
#define BEST(h) (HOLDS(h) && (!HOLDS(0) || H[0].epoch <= H[h].epoch) && (!HOLDS(1) || H[1].epoch <= H[h].epoch) && \
  (!HOLDS(2) || H[2].epoch <= H[h].epoch))

/* Moves that the store has lost sight of are ended with the source as it is; hosts on which they have ended do not care. */
inline lost_sight(mv) {
  if
  :: made >= mv && r_state[mv] != done && r_state[mv] != aborted ->
     r_state[mv] = aborted;
     returned[mv] = s_epoch;
     sent[mv] = sent[mv] & ~(1 << UNDO_STORED);
     forget(mv)
  :: else
  fi
}

inline found(h) {
  s_owner = h;
  s_epoch = H[h].epoch;
  s_open = 0;
  if
  :: H[h].move != 0 && target[H[h].move] == h -> s_open = H[h].move
  :: else
  fi;
  if :: s_open != 1 -> lost_sight(1) :: else -> r_state[1] = taken_up fi;
  if :: s_open != 2 -> lost_sight(2) :: else -> r_state[2] = taken_up fi
}

/* No owner: a source has released, its target has not taken. The target refuses durably, then the source is owner again. */
inline found_released(h, mv) {
  H[target[mv]].ended = H[target[mv]].ended | (1 << (mv));
  H[target[mv]].seen = MAX(H[target[mv]].seen, RETURN(mv));
  if
  :: H[target[mv]].move == mv -> H[target[mv]].move = 0; H[target[mv]].snap = 0; H[target[mv]].role = nothing; H[target[mv]].data = 0
  :: else
  fi;
  forget_late();
  s_owner = h;
  s_epoch = RETURN(mv);
  s_open = 0;
  lost_sight(1);
  lost_sight(2)
}

/* vol recover: every host answers, the hosts' records decide, and the numbers go on above all that were ever used. */
inline recover() {
#ifdef BREAK_TERM
  s_reserved = 1;
#else
  s_reserved = 1 + 4 * made;
#endif
#ifndef BREAK_RECOVER
  if
  :: BEST(0) -> found(0)
  :: else ->
     if
     :: BEST(1) -> found(1)
     :: else ->
        if
        :: BEST(2) -> found(2)
        :: else ->
           if
           :: H[0].role == released -> found_released(0, H[0].move)
           :: H[1].role == released -> found_released(1, H[1].move)
           :: H[2].role == released -> found_released(2, H[2].move)
           :: else -> assert(0)     /* nobody has it */
           fi
        fi
     fi
  fi
#endif
}

/* The store is put back to what it was at any earlier moment. No copy is kept beside each state, for what it may have been follows from
   what it is: README.md tells why. First, what the row of a move has been before it was committed. */
inline earlier(mv) {
  do
  :: r_phase[mv] == commit -> r_phase[mv] = release
  :: r_phase[mv] == release -> r_phase[mv] = verify
  :: r_phase[mv] == verify -> r_phase[mv] = delta
  :: r_phase[mv] == delta && r_snap[mv] > 1 -> r_phase[mv] = release; r_snap[mv] = r_snap[mv] - 1
  :: r_phase[mv] == delta && r_snap[mv] == 1 -> r_phase[mv] = quiesce
  :: r_phase[mv] == quiesce -> r_phase[mv] = plan
  :: break
  od;
  if
  :: r_cancel[mv] -> r_cancel[mv] = 0
  :: skip
  fi;
  r_state[mv] = (r_phase[mv] == release || r_phase[mv] == commit -> verified : open)
}

inline before_commit(mv) {
  s_owner = source[mv];
  s_epoch = was_epoch;
  s_open = mv;
  earlier(mv)
}

#define HAS(state) (r_state[made] == state)
/* Since the last change that a host remembers: nobody can tell that it is old. */
inline put_back_unnoticed() {
  if
  :: unheard && HAS(done) -> r_state[made] = taken_up; s_open = made
  :: unheard && HAS(aborted) && chosen[made] != 0 -> r_state[made] = committed; s_owner = target[made]; s_epoch = epoch[made]; s_open = made
  :: unheard && HAS(aborted) && chosen[made] == 0 -> before_commit(made)
  :: unheard && HAS(committed) -> before_commit(made)
  :: HAS(open) || HAS(verified) -> earlier(made)
  fi
}

/* Before that: nothing is done with it but `vol recover`, and of all that it says only counts which moves it says have ended. */
inline put_back_noticed() {
  unheard = 0;
#if defined(BREAK_BEHIND) || defined(BREAK_RECOVER)
  before_commit(made);
#else
  if
  :: made > 1 && (r_state[1] == aborted || r_state[1] == done)
  :: r_state[1] = open
  fi;
  if :: made > 1 -> r_state[made] = open :: else fi;
  r_phase[1] = idle; r_cancel[1] = 0; r_snap[1] = 0;
  r_phase[2] = idle; r_cancel[2] = 0; r_snap[2] = 0;
#endif
#ifndef BREAK_BEHIND
  recover()
#endif
}
#endif

proctype control() {
end:
  do
  :: atomic { pc == idle && s_open == 0 && made < MOVES && MAY_BEGIN ->
       if
       :: begin((s_owner + 1) % HOSTS)
       :: made > 0 -> begin((s_owner + 2) % HOSTS)
       fi
     }
  :: atomic { pc == plan && answer == ok -> call(plan2, BEGIN_T) }
  :: atomic { pc == plan2 && answer == ok -> enter(quiesce) }
  :: atomic { pc == quiesce && answer == ok -> enter(delta) }
  :: atomic { pc == delta && answer == ok -> enter(verify) }
  :: atomic { pc == verify && answer == ok -> enter(release) }
  :: atomic { pc == release && answer == ok -> enter(commit) }
#ifdef BREAK_RELEASE
  :: atomic { pc == release && !calm -> enter(commit) }
#endif
  :: atomic { pc == release && answer == changed -> call(reopen, REOPEN + K - 1) }
  :: atomic { pc == reopen && answer == ok ->
       if
       :: K < SNAPS -> K = K + 1; r_state[M] = open; enter(delta)
       :: else -> undo_move()
       fi
     }
  :: atomic { pc == commit && !r_cancel[M] ->
       assert(epoch[M] > s_epoch);      /* no number is used twice */
       r_state[M] = committed;
#ifdef RESTORE
       was_epoch = (restored -> 0 : s_epoch);
#endif
       s_owner = target[M];
       s_epoch = epoch[M];
       chosen[M] = K;
       CHANGE;
       pc = activate
     }
  :: atomic { pc == activate && c_wait == NOTHING -> call(activate, ACTIVATE) }
  :: atomic { pc == activate && answer == ok -> r_state[M] = taken_up; CHANGE; call(retire, RETIRE) }
     /* A target that cannot take it refuses for good, and the store gives the volume back. */
  :: atomic { pc == activate && answer == gone -> call(giveback, REFUSE) }
#ifndef BREAK_GIVEBACK
  :: atomic { pc == activate && answer == no -> call(giveback, REFUSE) }
#endif
#ifdef BREAK_RETURN
  :: atomic { pc == retire && !calm -> abort(M, RETURN(M)) }
#endif
  :: atomic { pc == retire && answer == ok -> call(finish, FINISH) }
  :: atomic { pc == finish && answer == ok -> r_state[M] = done; s_open = 0; CHANGE; forget(M); rest(idle) }
     /* An operator says that the target is lost for good: the source, which has let go at S, has it again. */
#ifdef DEAD
  :: atomic { (pc == activate || pc == giveback) && IS_DEAD(target[M]) && RELEASED_IN(source[M], M) -> abort(M, RETURN(M)) }
#endif
#ifdef BREAK_LOST
  :: atomic { pc == activate && !calm && RELEASED_IN(source[M], M) -> abort(M, RETURN(M)) }
#endif
  :: atomic { pc == giveback && answer == ok -> abort(M, RETURN(M)) }
  :: atomic { pc == giveback && answer == no -> call(activate, ACTIVATE) }

     /* Whatever fails before commit undoes the move: a refusal, a cancel, an answer that did not come in time. */
  :: atomic { BEFORE_COMMIT && (answer == no || r_cancel[M] || !calm || IS_DEAD(target[M])) -> undo_move() }
  :: atomic { pc == commit && r_cancel[M] -> undo_move() }
  :: atomic { pc == undoing && (answer != silent || !calm) ->
       if
       :: c_wait == UNDO -> abort(M, s_epoch)
       :: else -> abort(M, RETURN(M))
       fi
     }

     /* The reconciler: what has ended in the store is ended on the hosts. */
  :: atomic { r_state[1] == aborted && !SENT(1, UNDO_STORED) -> send(1, UNDO_STORED); send(1, REFUSE); forget(1) }
  :: atomic { r_state[2] == aborted && !SENT(2, UNDO_STORED) -> send(2, UNDO_STORED); send(2, REFUSE); forget(2) }

     /* A person cancels: a compare-and-swap on the move's row. */
  :: atomic { !calm && s_open != 0 && !r_cancel[s_open] && (r_state[s_open] == open || r_state[s_open] == verified) ->
       r_cancel[s_open] = 1
     }
#ifdef BREAK_CANCEL
  :: atomic { !calm && s_open != 0 && r_state[s_open] == committed -> M = s_open; abort(M, RETURN(M)) }
#endif
     /* kill -9, and the start after it. */
  :: atomic { pc != down && pc != idle && !calm -> rest(down) }
  :: atomic { pc == down -> resume() }
#ifdef RESTORE
  :: atomic { !restored && made > 0 && !calm ->
       if
       :: put_back_unnoticed()
       :: put_back_noticed()
       fi;
       restored = 1;
       unheard = 0;
       was_epoch = 0;
       rest(down)
     }
#ifdef BREAK_REMEMBER
  :: atomic { unheard -> unheard = 0; was_epoch = 0 }
#endif
#endif
  od
}

/* ---- Rest --------------------------------------------------------------------------------------------------------------------- */

#define WRITES_HERE(h) (H[h].role == owner && H[h].mounted && DATA(h) == acked && s_owner == (h))

/* What was sent and has not arrived by now never does, but for what somebody waits for: that is asked again. */
inline never_arrive(mv) {
  sent[mv] = (c_move == (mv) && c_wait != NOTHING -> sent[mv] & (1 << c_wait) : 0)
}

proctype rest_of_time() {
  /* Faults may end at any moment, also never. Only while they last may the parties go round in circles. */
progress:
  atomic {
    calm = 1;
#ifdef RESTORE
    restored = 1;
    unheard = 0;
    was_epoch = 0;
#endif
#ifdef ROLLBACK
    forget_saved();
#endif
#if defined(RESTORE) || defined(ROLLBACK)
    forget_late();
    forget(1);
    forget(2);
#endif
    if :: skip :: never_arrive(1); never_arrive(2) fi
  }
  /* When nothing is left to do. */
  timeout -> assert(s_open == 0 && MOUNTED == 1 && (WRITES_HERE(0) || WRITES_HERE(1) || WRITES_HERE(2)))
}

init {
  atomic {
    H[0].role = owner;
    KEEP(0);
    H[0].epoch = 1;
    H[0].seen = 1;
    H[1].role = nothing;
    H[2].role = nothing;
    run host(0);
    run host(1);
    run host(2);
    run engine(0);
    run engine(1);
    run engine(2);
    run control();
    run rest_of_time()
  }
}
