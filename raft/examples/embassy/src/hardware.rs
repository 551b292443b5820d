//! What the board must provide: a clock (SysTick, one interrupt per millisecond), a heap whose high
//! water is known, and a way to end. The only unsafe code of the example is here.

use alloc::alloc::{GlobalAlloc, Layout};
use core::cell::RefCell;
use core::mem::MaybeUninit;
use core::panic::PanicInfo;
use core::ptr::addr_of_mut;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::Waker;

use cortex_m::peripheral::syst::SystClkSource;
use cortex_m_rt::exception;
use cortex_m_semihosting::{debug, hprintln};
use critical_section::Mutex;
use embassy_time_queue_utils::Queue;
use embedded_alloc::LlffHeap;

/// Clock of the mps2-an386 board.
const CORE_HZ: u32 = 25_000_000;
pub const HEAP_BYTES: usize = 64 << 10;

/// Starts heap and clock; called once, first of all.
pub fn start() {
    static mut ARENA: [MaybeUninit<u8>; HEAP_BYTES] = [MaybeUninit::uninit(); HEAP_BYTES];
    // SAFETY: called once, before anything is allocated; nobody else knows of the arena.
    unsafe { HEAP.heap.init(addr_of_mut!(ARENA) as usize, HEAP_BYTES) }
    let mut clock = cortex_m::Peripherals::take().expect("taken once").SYST;
    clock.set_clock_source(SystClkSource::Core);
    clock.set_reload(CORE_HZ / 1_000 - 1);
    clock.clear_current();
    clock.enable_counter();
    clock.enable_interrupt();
}

/// The heap, and the most that was ever taken from it.
struct Metered {
    heap: LlffHeap,
    peak: AtomicUsize,
}

#[global_allocator]
static HEAP: Metered = Metered { heap: LlffHeap::empty(), peak: AtomicUsize::new(0) };

// SAFETY: every call is passed on unchanged.
unsafe impl GlobalAlloc for Metered {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract.
        let pointer = unsafe { self.heap.alloc(layout) };
        self.peak.fetch_max(self.heap.used(), Ordering::Relaxed);
        pointer
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract.
        unsafe { self.heap.dealloc(pointer, layout) }
    }
}

/// High-water marks, bytes.
pub struct Used {
    pub heap: usize,
    pub stack: usize,
}

/// The most that was used so far.
pub fn used() -> Used {
    unsafe extern "C" {
        static _stack_start: u32;
        static _stack_end: u32;
    }
    let (end, start) = (&raw const _stack_end, &raw const _stack_start);
    let mut deepest = end;
    // SAFETY: both symbols bound the painted memory; reading a word of it is always possible.
    while deepest < start && unsafe { deepest.read_volatile() } == cortex_m_rt::STACK_PAINT_VALUE {
        deepest = deepest.wrapping_add(1);
    }
    assert!(deepest > end, "the stack reached what lies below it");
    Used { heap: HEAP.peak.load(Ordering::Relaxed), stack: start as usize - deepest as usize }
}

struct Clock {
    millis: u64,
    alarms: Queue,
}

struct Driver(Mutex<RefCell<Clock>>);

embassy_time_driver::time_driver_impl!(static DRIVER: Driver = Driver(Mutex::new(RefCell::new(
    Clock { millis: 0, alarms: Queue::new() }
))));

impl embassy_time_driver::Driver for Driver {
    fn now(&self) -> u64 {
        critical_section::with(|token| self.0.borrow_ref(token).millis)
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        // The next tick looks at all alarms, so there is nothing to set.
        critical_section::with(|token| {
            self.0.borrow_ref_mut(token).alarms.schedule_wake(at, waker);
        });
    }
}

#[exception]
fn SysTick() {
    critical_section::with(|token| {
        let mut clock = DRIVER.0.borrow_ref_mut(token);
        clock.millis += 1;
        let now = clock.millis;
        clock.alarms.next_expiration(now);
    });
}

#[panic_handler]
fn panicked(info: &PanicInfo<'_>) -> ! {
    hprintln!("{}", info);
    loop {
        debug::exit(debug::EXIT_FAILURE);
    }
}
