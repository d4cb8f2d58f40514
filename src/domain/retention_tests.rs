//! What retention keeps: tables of dates, and what holds for every policy and history.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

fn point(n: i64, time: Timestamp) -> Point {
    Point {
        id: uuid::Uuid::from_u128(n.unsigned_abs().into()).into(),
        timeline: Timeline(1),
        sequence: Sequence(n),
        taken_at: time,
        finished_at: time,
        held: false,
        unwanted: false,
        pinned_by: None,
    }
}

fn policy(text: &str) -> Retention {
    let none = |keep_within| Retention {
        keep_within,
        keep_last: 0,
        keep_hourly: 0,
        keep_daily: 0,
        keep_weekly: 0,
        keep_monthly: 0,
        keep_yearly: 0,
    };
    let mut policy = none(Duration::from_secs(1));
    for word in text.split_whitespace() {
        let (key, value) = word.split_once('=').unwrap();
        let count = || value.parse().unwrap();
        match key {
            "within" => policy.keep_within = Duration::from_hours(value.parse().unwrap()),
            "last" => policy.keep_last = count(),
            "hourly" => policy.keep_hourly = count(),
            "daily" => policy.keep_daily = count(),
            "weekly" => policy.keep_weekly = count(),
            "monthly" => policy.keep_monthly = count(),
            "yearly" => policy.keep_yearly = count(),
            other => panic!("{other}"),
        }
    }
    policy.checked().unwrap()
}

/// What a policy keeps of backups at these times, now being the moment of the last one or a later one.
fn kept(policy_text: &str, times: &[&str], now: &str) -> Vec<String> {
    let at = |text: &str| format!("{text}:00.000Z").parse::<Timestamp>().unwrap();
    let points = (1..).zip(times).map(|(n, time)| point(n, at(time))).collect();
    let plan = plan(&policy(policy_text), points, at(now));
    let kept = plan.decisions.iter().filter(|decision| decision.keep);
    kept.map(|decision| decision.point.taken_at.to_string()[..16].to_owned()).collect()
}

const DATES: [&str; 14] = [
    "2023-12-31T23:59",
    "2024-01-01T00:00",
    "2024-02-28T12:00",
    "2024-02-29T12:00",
    "2024-02-29T23:00",
    "2024-03-01T00:30",
    "2024-12-29T12:00",
    "2024-12-30T12:00",
    "2025-01-01T12:00",
    "2025-01-05T23:59",
    "2025-01-06T00:00",
    "2025-01-06T00:20",
    "2025-01-06T00:40",
    "2025-01-06T01:10",
];

#[test]
fn the_newest_of_each_period_stays() {
    let now = "2025-01-08T01:10";
    let table: [(&str, &[usize]); 8] = [
        ("last=2", &[12, 13]),
        ("hourly=3", &[9, 12, 13]),
        ("daily=4", &[7, 8, 9, 13]),
        // 30 December 2024 is a Monday, and so is 6 January 2025.
        ("weekly=3", &[6, 9, 13]),
        ("monthly=4", &[4, 5, 7, 13]),
        ("yearly=9", &[0, 7, 13]),
        ("yearly=2 daily=1", &[7, 13]),
        ("", &[13]),
    ];
    for (text, expected) in table {
        let expected: Vec<&str> = expected.iter().map(|at| DATES[*at]).collect();
        assert_eq!(kept(text, &DATES, now), expected, "{text}");
    }
}

#[test]
fn every_backup_within_stays_and_the_one_that_the_window_begins_with() {
    // 25 hours before: 2025-01-05T00:20, so the window begins with the backup before that.
    assert_eq!(kept("within=25", &DATES, "2025-01-06T01:20"), &DATES[8..]);
    let plan = plan(&policy("within=25"), vec![point(1, Timestamp::from_millis(0))], Timestamp::from_millis(HOUR));
    assert_eq!((plan.begin, plan.decisions[0].reasons.clone()), (None, vec![Reason::Newest, Reason::Within]));
}

#[test]
fn every_reason_is_told() {
    let mut points: Vec<Point> = (1..=4).map(|n| point(n, Timestamp::from_millis(n * 10 * DAY))).collect();
    let restore: RestoreId = uuid::Uuid::from_u128(9).into();
    points[0].held = true;
    points[1].pinned_by = Some(Pin::open(restore.clone()));
    points[1].unwanted = true;
    let told = plan(&policy("last=1 yearly=1"), points, Timestamp::from_millis(40 * DAY));
    let reasons: Vec<_> = told.decisions.iter().map(|decision| (decision.keep, decision.reasons.clone())).collect();
    assert_eq!(reasons[0], (true, vec![Reason::Held]));
    assert_eq!(reasons[1], (true, vec![Reason::Pinned(restore)]));
    assert_eq!(reasons[2], (true, vec![Reason::BeginsWindow]));
    assert_eq!(reasons[3], (true, vec![Reason::Newest, Reason::Within, Reason::Last, Reason::Yearly]));
}

#[test]
fn an_undo_keeps_its_safety_backup_and_not_the_history_after_it() {
    let restore: RestoreId = uuid::Uuid::from_u128(9).into();
    let mut points: Vec<Point> = (1..=4).map(|n| point(n, Timestamp::from_millis(n * 10 * DAY))).collect();
    let begin = |points: &[Point]| {
        let told = plan(&policy("within=24"), points.to_vec(), Timestamp::from_millis(42 * DAY));
        (told.decisions[0].reasons.clone(), told.begin)
    };
    points[0].pinned_by = Some(Pin::open(restore.clone()));
    assert_eq!(begin(&points), (vec![Reason::Pinned(restore.clone())], Some(points[0].id.clone())));
    points[0].pinned_by = Some(Pin { until: Some(Timestamp::from_millis(43 * DAY)), ..Pin::open(restore.clone()) });
    assert_eq!(begin(&points), (vec![Reason::Undo(restore)], Some(points[3].id.clone())));
}

#[test]
fn of_a_deleted_department_the_counts_run_out_and_nothing_stays_for_being_the_last() {
    let at = |day: i64| Timestamp::from_millis(day * DAY);
    let points: Vec<Point> = (0..10).map(|n| point(n, at(n))).collect();
    let kept = |policy_text: &str, points: &[Point], now: i64| -> Vec<i64> {
        let plan = plan_of_deleted(&policy(policy_text), points.to_vec(), at(now));
        assert_eq!(plan.begin, None);
        plan.decisions.iter().filter(|it| it.keep).map(|it| it.point.sequence.0).collect()
    };
    assert_eq!(kept("daily=3 last=5", &points, 9), [7, 8, 9]);
    assert_eq!(kept("daily=3 last=5", &points, 11), [9]);
    assert_eq!(kept("daily=3 last=5", &points, 12).len(), 0);
    assert_eq!(kept("yearly=2", &points, 700), [9]);
    assert_eq!(kept("yearly=2", &points, 731).len(), 0);
    let mut held = points.clone();
    held[4].held = true;
    held[5].pinned_by = Some(Pin::open(uuid::Uuid::from_u128(9).into()));
    assert_eq!(kept("daily=3", &held, 1000), [4, 5]);
    // Time may have gone back: then more stays.
    assert_eq!(kept("daily=3", &points, 5), [5, 6, 7, 8, 9]);
}

#[test]
fn who_is_not_wanted_takes_nobodys_place() {
    let mut points: Vec<Point> = (1..=4).map(|n| point(n, Timestamp::from_millis(n * 60_000))).collect();
    points[2].unwanted = true;
    let told = plan(&policy("last=2"), points, Timestamp::from_millis(9 * DAY));
    let kept: Vec<bool> = told.decisions.iter().map(|decision| decision.keep).collect();
    assert_eq!(kept, [false, true, false, true]);
    assert_eq!(told.decisions[0].reasons, [Reason::Expired]);
    assert_eq!(told.decisions[2].reasons, [Reason::Requested]);
}

#[test]
fn the_order_is_the_one_of_the_history_whatever_a_clock_said() {
    // The clock was two days ahead for a while; the backups after that are newer all the same.
    let times = [1, 2, 3, 51, 52, 5, 6].map(|hour| Timestamp::from_millis(hour * HOUR));
    let points: Vec<Point> = (1..).zip(times).map(|(n, time)| point(n, time)).collect();
    let told = plan(&policy("last=1"), points, Timestamp::from_millis(7 * HOUR));
    let kept: Vec<bool> = told.decisions.iter().map(|decision| decision.keep).collect();
    assert_eq!(kept, [false, false, true, true, true, true, true]);
    let mut second = point(1, Timestamp::from_millis(0));
    second.timeline = Timeline(2);
    let told = plan(&policy("last=1"), vec![second, point(9, Timestamp::from_millis(0))], Timestamp::from_millis(DAY));
    assert_eq!(told.decisions[1].point.timeline, Timeline(2));
    assert!(told.decisions[1].keep);
}

#[test]
fn a_policy_keeps_to_its_limits() {
    let within = |keep_within| Retention { keep_within, ..Retention::default() };
    assert!(within(Duration::ZERO).checked().is_err());
    assert!(within(Duration::from_millis(1500)).checked().is_err());
    assert!(within(Duration::from_hours(3651 * 24)).checked().is_err());
    assert!(Retention { keep_last: 100_001, ..Retention::default() }.checked().is_err());
    assert!(Retention::default().checked().is_ok());
}

fn retentions() -> impl Strategy<Value = Retention> {
    let count = || 0_u32..6;
    (1_u64..100_000, count(), count(), count(), count(), count(), count()).prop_map(|(seconds, l, h, d, w, m, y)| {
        Retention {
            keep_within: Duration::from_secs(seconds),
            keep_last: l,
            keep_hourly: h,
            keep_daily: d,
            keep_weekly: w,
            keep_monthly: m,
            keep_yearly: y,
        }
    })
}

/// Backups at growing times, now and then many at once, with holds, pins and wishes to delete.
fn histories() -> impl Strategy<Value = Vec<Point>> {
    let step = prop_oneof![1_000_i64..60_000, 60_000_i64..7_200_000, DAY..40 * DAY];
    proptest::collection::vec((step, 0_u8..12), 0..60).prop_map(|steps| {
        let mut time = 1_700_000_000_000;
        (1..)
            .zip(steps)
            .map(|(n, (step, mark))| {
                time += step;
                let mut point = point(n, Timestamp::from_millis(time));
                point.held = mark == 0;
                point.unwanted = mark == 1;
                point.pinned_by = (mark == 2).then(|| Pin::open(uuid::Uuid::from_u128(7).into()));
                point
            })
            .collect()
    })
}

fn ids(plan: &Plan) -> BTreeSet<BackupId> {
    plan.decisions.iter().filter(|decision| decision.keep).map(|decision| decision.point.id.clone()).collect()
}

proptest! {
    #[test]
    fn the_newest_the_held_and_the_pinned_are_never_dropped(policy in retentions(), points in histories(), late in 0..9_i64) {
        let now = Timestamp::from_millis(points.last().map_or(0, |last| last.taken_at.as_millis()) + late * late * DAY);
        let plan = plan(&policy, points, now);
        let newest = plan.decisions.len().saturating_sub(1);
        for (at, decision) in plan.decisions.iter().enumerate() {
            prop_assert!(!decision.reasons.is_empty());
            let safe = at == newest || decision.point.held || decision.point.pinned_by.is_some();
            prop_assert!(decision.keep || !safe, "{decision:?}");
        }
    }

    #[test]
    fn what_was_dropped_is_not_missed(policy in retentions(), points in histories(), late in 0..9_i64, later in 0..9_i64) {
        let last = points.last().map_or(0, |last| last.taken_at.as_millis());
        let first = Timestamp::from_millis(last + late * HOUR);
        let second = Timestamp::from_millis(first.as_millis() + later * later * HOUR);
        let left: Vec<Point> =
            plan(&policy, points.clone(), first).decisions.into_iter().filter(|d| d.keep).map(|d| d.point).collect();
        // Pruning twice leaves what pruning once at the later time leaves, and nothing that is gone would be kept then.
        let (once, twice) = (plan(&policy, points, second), plan(&policy, left, second));
        prop_assert_eq!(ids(&once), ids(&twice));
    }

    #[test]
    fn a_policy_that_asks_for_more_keeps_more(policy in retentions(), more in retentions(), points in histories()) {
        let now = points.last().map_or(Timestamp::from_millis(0), |last| last.taken_at);
        let larger = Retention {
            keep_within: policy.keep_within.max(more.keep_within),
            keep_last: policy.keep_last.max(more.keep_last),
            keep_hourly: policy.keep_hourly.max(more.keep_hourly),
            keep_daily: policy.keep_daily.max(more.keep_daily),
            keep_weekly: policy.keep_weekly.max(more.keep_weekly),
            keep_monthly: policy.keep_monthly.max(more.keep_monthly),
            keep_yearly: policy.keep_yearly.max(more.keep_yearly),
        };
        let (small, large) = (plan(&policy, points.clone(), now), plan(&larger, points, now));
        // The backup that the window begins with is another one; all others stay.
        let begin: BTreeSet<BackupId> = small.begin.clone().into_iter().collect();
        let lost: Vec<_> = ids(&small).difference(&ids(&large)).filter(|id| !begin.contains(*id)).cloned().collect();
        prop_assert!(lost.is_empty(), "{lost:?}");
    }
}
