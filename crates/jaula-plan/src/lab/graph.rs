//! Pictures of a lab: in a terminal, as SVG and for Graphviz.

use super::{Cable, End, LabPlan};

/// The picture's letters.
struct Strokes {
    top: &'static str,
    branch: &'static str,
    last: &'static str,
    line: &'static str,
}

const BOX: Strokes = Strokes {
    top: "┌",
    branch: "├─",
    last: "└─",
    line: "─",
};
const PLAIN: Strokes = Strokes {
    top: "+",
    branch: "|-",
    last: "`-",
    line: "-",
};

fn addresses(plan: &LabPlan, node: usize, interface: usize) -> String {
    let found = plan
        .nodes
        .get(node)
        .and_then(|n| n.interfaces.get(interface));
    let list = found.map(|interface| &interface.addresses);
    let list: Vec<String> = list
        .into_iter()
        .flatten()
        .map(ToString::to_string)
        .collect();
    list.join(" ")
}

fn name_of(plan: &LabPlan, end: End) -> &str {
    match end {
        End::Node { node, .. } => plan.nodes.get(node).map(|n| n.name.as_str()),
        End::Switch(switch) => plan.switches.get(switch).map(|s| s.name.as_str()),
    }
    .unwrap_or_default()
}

fn router_mark(plan: &LabPlan, node: usize) -> &'static str {
    match plan.nodes.get(node) {
        Some(node) if node.router => " (router)",
        _ => "",
    }
}

fn note(cable: &Cable) -> String {
    cable
        .queue
        .map(|queue| format!("  [{queue}]"))
        .unwrap_or_default()
}

/// Each LAN with what hangs on it, then the links between nodes; `ascii` for terminals that know nothing else. A router
/// stands on every LAN it is on.
pub fn drawing(plan: &LabPlan, ascii: bool) -> String {
    let strokes = if ascii { &PLAIN } else { &BOX };
    let mut text = String::new();
    for (at, switch) in plan.switches.iter().enumerate() {
        let subnets: Vec<String> = switch.subnets.iter().map(ToString::to_string).collect();
        let stp = if switch.stp { "  (spanning tree)" } else { "" };
        text.push_str(&format!(
            "{}{} LAN {}  {}{stp}\n",
            strokes.top,
            strokes.line.repeat(2),
            switch.name,
            subnets.join(" ")
        ));
        let mut rows: Vec<[String; 4]> = Vec::new();
        for cable in &plan.cables {
            match cable.ends {
                [End::Node { node, interface }, End::Switch(on)] if on == at => rows.push([
                    format!(
                        "{}{}",
                        name_of(plan, cable.ends[0]),
                        router_mark(plan, node)
                    ),
                    format!("eth{interface}"),
                    addresses(plan, node, interface),
                    note(cable),
                ]),
                [a @ End::Switch(first), b @ End::Switch(second)]
                    if first == at || second == at =>
                {
                    let other = if first == at { b } else { a };
                    rows.push([
                        format!("LAN {}", name_of(plan, other)),
                        String::new(),
                        String::new(),
                        note(cable),
                    ]);
                }
                _ => {}
            }
        }
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let (first, second) = (width(0), width(1));
        let count = rows.len();
        for (place, [name, interface, addresses, note]) in rows.into_iter().enumerate() {
            let branch = match place + 1 == count {
                true => strokes.last,
                false => strokes.branch,
            };
            let row = format!("{branch} {name:first$}  {interface:second$}  {addresses}{note}");
            text.push_str(row.trim_end());
            text.push('\n');
        }
        text.push('\n');
    }
    for cable in &plan.cables {
        if let [
            End::Node {
                node: a,
                interface: i,
            },
            End::Node {
                node: b,
                interface: j,
            },
        ] = cable.ends
        {
            text.push_str(&format!(
                "{}{} eth{i} {} {} eth{j} {}{}{}\n    {}\n    {}\n",
                name_of(plan, cable.ends[0]),
                router_mark(plan, a),
                strokes.line.repeat(6),
                strokes.line.repeat(6),
                name_of(plan, cable.ends[1]),
                router_mark(plan, b),
                note(cable),
                addresses(plan, a, i),
                addresses(plan, b, j),
            ));
        }
    }
    let alone = plan.nodes.iter().filter(|node| node.interfaces.is_empty());
    alone.for_each(|node| text.push_str(&format!("{} (alone)\n", node.name)));
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// For Graphviz: an undirected graph.
pub fn dot(plan: &LabPlan) -> String {
    let mut text = format!(
        "graph {} {{\n  overlap=false;\n",
        quoted(plan.name.as_str())
    );
    for switch in &plan.switches {
        let subnets: Vec<String> = switch.subnets.iter().map(ToString::to_string).collect();
        let label = format!("{}\\n{}", switch.name, subnets.join("\\n"));
        text.push_str(&format!(
            "  {} [shape=ellipse, label=\"{label}\"];\n",
            quoted(&switch.name)
        ));
    }
    for node in &plan.nodes {
        let shape = if node.router { "diamond" } else { "box" };
        text.push_str(&format!("  {} [shape={shape}];\n", quoted(&node.name)));
    }
    for cable in &plan.cables {
        let [a, b] = cable.ends;
        let label = cable
            .queue
            .map(|queue| queue.to_string())
            .unwrap_or_default();
        text.push_str(&format!(
            "  {} -- {} [label={}];\n",
            quoted(name_of(plan, a)),
            quoted(name_of(plan, b)),
            quoted(&label)
        ));
    }
    text.push_str("}\n");
    text
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;").replace('"', "&quot;")
}

/// As SVG: LANs as horizontal bars, nodes on rows beneath the first LAN they are on, a line for every cable.
pub fn svg(plan: &LabPlan) -> String {
    const CELL: usize = 150;
    const ROW: usize = 150;
    const WIDE: usize = 8;
    // Nodes by the first LAN they are on; those on none at the end.
    let mut groups: Vec<Vec<usize>> = vec![Vec::new(); plan.switches.len() + 1];
    for (at, node) in plan.nodes.iter().enumerate() {
        let first = node.interfaces.iter().find_map(|interface| {
            plan.switches
                .iter()
                .position(|switch| switch.name == interface.to)
        });
        if let Some(group) = groups.get_mut(first.unwrap_or(plan.switches.len())) {
            group.push(at);
        }
    }
    let columns = groups
        .iter()
        .map(Vec::len)
        .max()
        .unwrap_or(0)
        .clamp(1, WIDE);
    let width = columns * CELL + 40;
    let mut places = vec![(0usize, 0usize); plan.nodes.len()];
    let mut bars = Vec::new();
    let mut y = 40;
    for (at, group) in groups.iter().enumerate() {
        if at < plan.switches.len() {
            bars.push(y);
        }
        for (number, node) in group.iter().enumerate() {
            if let Some(place) = places.get_mut(*node) {
                *place = (20 + number % WIDE * CELL, y + 60 + number / WIDE * 80);
            }
        }
        y += ROW + group.len().saturating_sub(1) / WIDE * 80;
    }
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{y}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <title>{}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        escaped(plan.name.as_str())
    );
    let point = |end: End, from: usize| match end {
        End::Node { node, .. } => {
            let (x, y) = places.get(node).copied().unwrap_or_default();
            (x + 60, y + 20)
        }
        End::Switch(switch) => (from, bars.get(switch).copied().unwrap_or(0) + 10),
    };
    for cable in &plan.cables {
        let [a, b] = cable.ends;
        let (x1, y1) = point(a, width / 2);
        let (x2, y2) = point(b, x1);
        text.push_str(&format!(
            "<line x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\" stroke=\"#667\" stroke-width=\"1.5\"/>\n"
        ));
        if let Some(queue) = cable.queue {
            let (x, y) = ((x1 + x2) / 2 + 4, (y1 + y2) / 2);
            text.push_str(&format!(
                "<text x=\"{x}\" y=\"{y}\" fill=\"#a30\">{}</text>\n",
                escaped(&queue.to_string())
            ));
        }
    }
    for (switch, y) in plan.switches.iter().zip(&bars) {
        let subnets: Vec<String> = switch.subnets.iter().map(ToString::to_string).collect();
        text.push_str(&format!(
            "<rect x=\"20\" y=\"{y}\" width=\"{}\" height=\"20\" rx=\"4\" fill=\"#cde\" stroke=\"#368\"/>\n\
             <text x=\"28\" y=\"{}\">{}  {}</text>\n",
            width - 40,
            y + 14,
            escaped(&switch.name),
            escaped(&subnets.join(" "))
        ));
    }
    for (node, (x, y)) in plan.nodes.iter().zip(&places) {
        let fill = if node.router { "#fda" } else { "#efe" };
        let round = if node.router { 18 } else { 3 };
        let address = node.interfaces.first().and_then(|i| i.addresses.first());
        let address = address.map(ToString::to_string).unwrap_or_default();
        text.push_str(&format!(
            "<rect x=\"{x}\" y=\"{y}\" width=\"120\" height=\"40\" rx=\"{round}\" fill=\"{fill}\" stroke=\"#333\"/>\n\
             <text x=\"{}\" y=\"{}\" text-anchor=\"middle\" font-weight=\"bold\">{}</text>\n\
             <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n",
            x + 60,
            y + 17,
            escaped(&node.name),
            x + 60,
            y + 32,
            escaped(&address)
        ));
    }
    text.push_str("</svg>\n");
    text
}
