//! Who should lead a department: the order of the candidates, and how many departments one should lead.
//!
//! Rule: every replica computes the same order from the same members, so that the first claims without contest and
//! a replica that comes or goes moves few departments (rendezvous hashing).

use crate::domain::ids::{DepartmentName, ReplicaId};

use super::Member;

/// Place of `me` among the live members that are not draining, for this department; 0 claims first.
pub(super) fn rank(me: &ReplicaId, department: &DepartmentName, members: &[Member]) -> usize {
    let mine = (weight(department, me), me);
    members
        .iter()
        .filter(|member| !member.draining && member.replica != *me)
        .filter(|member| (weight(department, &member.replica), &member.replica) > mine)
        .count()
}

/// How many departments one replica takes before it lets the others go first.
pub(super) fn cap(departments: usize, members: &[Member]) -> usize {
    let live = members.iter().filter(|member| !member.draining).count().max(1);
    departments.div_ceil(live) + 1
}

fn weight(department: &DepartmentName, replica: &ReplicaId) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(department.as_str().as_bytes()).update(&[0]).update(replica.as_str().as_bytes());
    let hash = hasher.finalize();
    hash.as_bytes().iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: &str, draining: bool) -> Member {
        let replica = id.parse().unwrap();
        Member { replica, instance: String::new(), url: None, version: String::new(), draining }
    }

    #[test]
    fn every_rank_is_taken_once_and_draining_replicas_are_passed_over() {
        let members = [member("a", false), member("b", false), member("c", true), member("d", false)];
        let department = "sales".parse().unwrap();
        let mut ranks: Vec<_> =
            members.iter().filter(|m| !m.draining).map(|m| rank(&m.replica, &department, &members)).collect();
        ranks.sort_unstable();
        assert_eq!(ranks, [0, 1, 2]);
    }

    #[test]
    fn the_cap_is_one_above_the_even_share() {
        let members = [member("a", false), member("b", false), member("c", false)];
        assert_eq!(cap(6, &members), 3);
        assert_eq!(cap(7, &members), 4);
        assert_eq!(cap(2, &[]), 3);
    }
}
