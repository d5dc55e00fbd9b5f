//! Limits the number of connections, in total and per address.

use std::collections::HashMap;

/// The free slots, and the number of slots each address uses.
pub(super) struct Permits {
    free: Vec<u32>,
    per_address: HashMap<u128, usize>,
    per_address_max: usize,
    /// The acceptor waits for a slot.
    slot_awaited: bool,
}

impl Permits {
    pub(super) fn new(slots: u32, per_address_max: usize) -> Permits {
        Permits {
            // The lowest number is popped first, so that a quiet server uses few slots.
            free: (0..slots).rev().collect(),
            per_address: HashMap::new(),
            per_address_max,
            slot_awaited: false,
        }
    }

    pub(super) fn free(&self) -> usize {
        self.free.len()
    }

    /// Whether a slot is free. If not, [`Permits::release_slot`] will return `true` once.
    pub(super) fn has_room(&mut self) -> bool {
        self.slot_awaited = self.free.is_empty();
        !self.slot_awaited
    }

    pub(super) fn has_room_for(&self, address_key: u128) -> bool {
        let taken = self.per_address.get(&address_key);
        taken.is_none_or(|&taken| taken < self.per_address_max)
    }

    /// Takes a slot for an address; `None` if none is free. The caller has checked the address's
    /// limit.
    pub(super) fn take(&mut self, address_key: u128) -> Option<u32> {
        let slot = self.free.pop()?;
        *self.per_address.entry(address_key).or_default() += 1;
        Some(slot)
    }

    /// Returns whether the acceptor waits for a slot.
    pub(super) fn release_slot(&mut self, slot: u32, address_key: u128) -> bool {
        self.free.push(slot);
        if let Some(taken) = self.per_address.get_mut(&address_key) {
            *taken -= 1;
            if *taken == 0 {
                self.per_address.remove(&address_key);
            }
        }
        std::mem::take(&mut self.slot_awaited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_room_up_to_its_limit_and_after_a_release() {
        let mut permits = Permits::new(8, 2);
        let first = permits.take(1).unwrap();
        permits.take(1).unwrap();
        assert!(!permits.has_room_for(1) && permits.has_room_for(2));
        permits.release_slot(first, 1);
        assert!(permits.has_room_for(1));
    }

    #[test]
    fn reports_once_that_a_slot_is_awaited() {
        let mut permits = Permits::new(2, 2);
        let slots = [permits.take(1).unwrap(), permits.take(2).unwrap()];
        assert!(!permits.has_room());
        assert_eq!(permits.take(3), None);
        assert!(permits.release_slot(slots[0], 1));
        assert!(!permits.release_slot(slots[1], 2));
        assert_eq!(permits.free(), 2);
    }

    #[test]
    fn forgets_addresses_that_have_nothing() {
        let mut permits = Permits::new(1, 1);
        for address in 0..1000 {
            let slot = permits.take(address).unwrap();
            permits.release_slot(slot, address);
        }
        assert!(permits.per_address.is_empty());
    }
}
