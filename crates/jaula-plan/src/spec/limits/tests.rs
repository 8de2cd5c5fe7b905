use super::*;

fn read(text: &str) -> Result<Limit, LimitError> {
    text.parse()
}

#[test]
fn every_limit_in_every_form() {
    for (text, limit, shown) in [
        ("memory=64M", Limit::Memory(64 << 20), "memory=64M"),
        (
            "memory=67108865",
            Limit::Memory((64 << 20) + 1),
            "memory=67108865",
        ),
        ("memory=1.5GiB", Limit::Memory(3 << 29), "memory=1536M"),
        ("swap=0", Limit::Swap(0), "swap=0"),
        ("cpu=1.5", Limit::Cpu(1500), "cpu=1.5"),
        ("cpu=50%", Limit::Cpu(500), "cpu=0.5"),
        ("cpu=2", Limit::Cpu(2000), "cpu=2"),
        (
            "cpu-weight=10000",
            Limit::CpuWeight(10_000),
            "cpu-weight=10000",
        ),
        ("cpus=0-1,3", Limit::Cpus("0-1,3".to_owned()), "cpus=0-1,3"),
        ("pids=20", Limit::Pids(20), "pids=20"),
        (
            "io-read=8:0:10M",
            Limit::IoRead(Device::Number(8, 0), 10 << 20),
            "io-read=8:0:10M",
        ),
        (
            "io-write=/dev/a:b:1K",
            Limit::IoWrite(Device::Path("/dev/a:b".into()), 1024),
            "io-write=/dev/a:b:1K",
        ),
        (
            "files=256",
            Limit::Process(Resource::Files, Some(256)),
            "files=256",
        ),
        (
            "core=unlimited",
            Limit::Process(Resource::Core, None),
            "core=unlimited",
        ),
        ("core=0", Limit::Process(Resource::Core, Some(0)), "core=0"),
        (
            "cpu-time=2m",
            Limit::Process(Resource::CpuTime, Some(120)),
            "cpu-time=2m",
        ),
        (
            "processes=20",
            Limit::Process(Resource::Processes, Some(20)),
            "processes=20",
        ),
        (
            "data=2G",
            Limit::Process(Resource::Data, Some(2 << 30)),
            "data=2G",
        ),
        ("nice=-5", Limit::Nice(-5), "nice=-5"),
        (
            "time=1.5s",
            Limit::Time(Duration::from_millis(1500)),
            "time=1.5s",
        ),
        (
            "time=250ms",
            Limit::Time(Duration::from_millis(250)),
            "time=250ms",
        ),
    ] {
        assert_eq!(read(text), Ok(limit.clone()), "{text}");
        assert_eq!(limit.to_string(), shown);
        assert_eq!(read(shown), Ok(limit), "as it is kept: {shown}");
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    for bad in [
        "",
        "memory",
        "=1",
        "memory=",
        "memory=0",
        "memory=-1",
        "memory=64Q",
        "memory=1.2345G",
        "memory=99999999999999999999",
        "memory=9999999T",
        "swap=x",
        "cpu=0",
        "cpu=0.001",
        "cpu=1,5",
        "cpu=%",
        "cpu=+1",
        "cpu-weight=0",
        "cpu-weight=10001",
        "cpus=",
        "cpus=3-1",
        "cpus=a",
        "cpus=0-",
        "cpus=+1",
        "pids=0",
        "pids=+1",
        "pids=1.5",
        "io-read=10M",
        "io-read=sda:10M",
        "io-read=/dev/sda:0",
        "io-read=8:x:1M",
        "io-weight=x",
        "files=0",
        "files=-1",
        "stack=0",
        "cpu-time=1.5s",
        "cpu-time=0",
        "nice=20",
        "nice=-21",
        "time=0",
        "time=5y",
        "time=.",
        "time=99999999d",
        "what=1",
    ] {
        assert!(read(bad).is_err(), "{bad:?}");
    }
    let unknown = read("mem=1").expect_err("no such key").to_string();
    assert!(unknown.contains("memory, swap"), "{unknown}");
}

#[test]
fn a_list_of_limits_may_hold_a_list_of_cpus() {
    let mut limits = Limits::default();
    limits.add("cpus=0,2-3,memory=1G").expect("limits");
    limits.add("memory=2G").expect("limits");
    assert_eq!(
        limits.all(),
        [Limit::Cpus("0,2-3".to_owned()), Limit::Memory(2 << 30)]
    );
    assert!(limits.add("memory=1G,,pids=2").is_err());
    assert!(limits.add("").is_err());
}

#[test]
fn limits_of_processes_are_told_from_those_of_the_jail() {
    let mut limits = Limits::default();
    limits
        .add("memory=1G,files=10,nice=5,time=3s")
        .expect("limits");
    let own: Vec<String> = limits
        .of_processes()
        .all()
        .iter()
        .map(Limit::to_string)
        .collect();
    assert_eq!(own, ["files=10", "nice=5"]);
    assert!(limits.need_group() && !limits.of_processes().need_group());
}
