//! Which leadership should go to another replica, so that each leads its share.
//!
//! Rule: a move is worth its interruption only while the replicas are clearly uneven; each one makes them more even, so
//! it ends.

use std::collections::{BTreeMap, BTreeSet};

use super::ids::{DepartmentName, ReplicaId};

/// A leadership that should go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The department.
    pub department: DepartmentName,
    /// Who leads it.
    pub from: ReplicaId,
    /// Who should.
    pub to: ReplicaId,
}

/// The next move, leaving out departments that cannot move now; none when the replicas are even enough: nobody leads two
/// more than another one, or everybody leads its share but for a tenth.
pub fn next_move(
    live: &BTreeSet<ReplicaId>,
    leaders: &BTreeMap<DepartmentName, ReplicaId>,
    left_out: &BTreeSet<DepartmentName>,
) -> Option<Move> {
    let loads = loads(live, leaders);
    // In the order of names where the loads are the same, so that everybody counts alike.
    let (to, least) = loads.iter().min_by_key(|(_, load)| **load)?;
    let (from, most) = loads.iter().rev().max_by_key(|(_, load)| **load)?;
    let (below, above) = (leaders.len() / live.len(), leaders.len().div_ceil(live.len()));
    let uneven = most * 10 > above * 11 || least * 10 < below * 9;
    if most - least < 2 || !uneven {
        return None;
    }
    let mut own = leaders.iter().filter(|(_, leader)| *leader == from).map(|(department, _)| department);
    let department = own.find(|department| !left_out.contains(*department))?.clone();
    Some(Move { department, from: from.clone(), to: to.clone() })
}

/// Of these replicas, the one that leads the fewest.
pub fn lightest(live: &BTreeSet<ReplicaId>, leaders: &BTreeMap<DepartmentName, ReplicaId>) -> Option<ReplicaId> {
    loads(live, leaders).into_iter().min_by_key(|(_, load)| *load).map(|(replica, _)| replica)
}

fn loads(live: &BTreeSet<ReplicaId>, leaders: &BTreeMap<DepartmentName, ReplicaId>) -> BTreeMap<ReplicaId, usize> {
    let load = |replica: &ReplicaId| leaders.values().filter(|leader| *leader == replica).count();
    live.iter().map(|replica| (replica.clone(), load(replica))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(names: &[&str]) -> BTreeSet<ReplicaId> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    /// Departments `d0`, `d1`, … and who leads each.
    fn led(by: &[&str]) -> BTreeMap<DepartmentName, ReplicaId> {
        by.iter().enumerate().map(|(n, id)| (format!("d{n}").parse().unwrap(), id.parse().unwrap())).collect()
    }

    #[test]
    fn a_new_replica_gets_its_share_move_by_move_and_then_it_ends() {
        let live = live(&["a", "b", "c"]);
        let mut leaders = led(&["a", "a", "a", "b", "b", "b", "b"]);
        let mut moves = 0;
        while let Some(next) = next_move(&live, &leaders, &BTreeSet::new()) {
            assert_eq!(leaders.insert(next.department, next.to), Some(next.from));
            moves += 1;
        }
        assert_eq!(moves, 2);
        let loads: Vec<usize> = loads(&live, &leaders).into_values().collect();
        assert_eq!(loads, [2, 3, 2]);
    }

    #[test]
    fn nothing_moves_while_the_replicas_are_even_enough() {
        let none = BTreeSet::new();
        assert_eq!(next_move(&live(&["a", "b"]), &led(&["a"]), &none), None);
        assert_eq!(next_move(&live(&["a", "b"]), &led(&["a", "a", "b"]), &none), None);
        assert_eq!(next_move(&live(&["a"]), &led(&["a", "a", "a"]), &none), None);
        assert_eq!(next_move(&BTreeSet::new(), &led(&[]), &none), None);
        // 21, 20 and 19, where the share is 20.
        let many: Vec<&str> = (0..60)
            .map(|n| {
                if n < 21 {
                    "a"
                } else if n < 41 {
                    "b"
                } else {
                    "c"
                }
            })
            .collect();
        assert_eq!(next_move(&live(&["a", "b", "c"]), &led(&many), &none), None);
    }

    #[test]
    fn a_department_that_is_left_out_stays_and_another_one_goes() {
        let left_out = BTreeSet::from(["d0".parse().unwrap()]);
        let next = next_move(&live(&["a", "b"]), &led(&["a", "a", "a"]), &left_out).unwrap();
        assert_eq!((next.department.as_str(), next.to.as_str()), ("d1", "b"));
    }

    #[test]
    fn the_lightest_is_the_one_that_leads_the_fewest() {
        assert_eq!(lightest(&live(&["b", "c"]), &led(&["a", "b"])), Some("c".parse().unwrap()));
        assert_eq!(lightest(&BTreeSet::new(), &led(&["a"])), None);
    }
}
