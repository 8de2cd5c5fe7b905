//! The reasons of explanations in Spanish. A `{}` stands for what differs from plan to plan.

/// English and Spanish.
const REASONS: &[(&str, &str)] = &[
    (
        "programs of another machine start by an interpreter, in this jail only (Linux 6.7)",
        "los programas de otra máquina arrancan con un intérprete, solo en esta jaula (Linux 6.7)",
    ),
    // users who live in jails
    (
        "the lines of accounts, as useradd and usermod change them, under the same locks",
        "las líneas de las cuentas, como las cambian useradd y usermod, con los mismos cerrojos",
    ),
    (
        "what was said of this user goes",
        "se va lo que se dijo de este usuario",
    ),
    (
        "what this user may do, and how he is let in",
        "lo que puede hacer este usuario, y cómo entra",
    ),
    (
        "the login shell: it goes into the jail in a user namespace of the user's own, so it needs no set-uid bit",
        "la shell de entrada: pasa a la jaula en un espacio de nombres del propio usuario, así que no necesita bit set-uid",
    ),
    (
        "a place for what the kernel shows inside",
        "un sitio para lo que el núcleo muestra dentro",
    ),
    (
        "the home, the only place inside where the user can write",
        "el directorio personal, el único sitio de dentro en el que el usuario puede escribir",
    ),
    (
        "the home goes along into the jail",
        "el directorio personal se va también a la jaula",
    ),
    (
        "the home with everything in it",
        "el directorio personal con todo lo que tiene",
    ),
    // one identifier
    (
        "no classic tool records owners without changing the programs that run (fakeroot(1) does by a library); jaula answers chown(2) and stat(2) itself",
        "ninguna herramienta clásica anota los dueños sin cambiar los programas que corren (fakeroot(1) lo hace con una biblioteca); jaula responde ella misma a chown(2) y stat(2)",
    ),
    // settings of images
    (
        "answers to packages' questions; jaula gives them before packages are configured",
        "respuestas a las preguntas de los paquetes; jaula las da antes de configurarlos",
    ),
    (
        "the name that the system gives itself; /etc/hosts gets it too",
        "el nombre que se da el sistema; también va en /etc/hosts",
    ),
    (
        "the time zone of programs; /etc/timezone names it too",
        "el huso horario de los programas; también lo dice /etc/timezone",
    ),
    (
        "the keyboard, as keyboard(5) has it",
        "el teclado, como lo dice keyboard(5)",
    ),
    (
        "generate what /etc/locale.gen lists; jaula lists the locales that were asked for",
        "genera lo que lista /etc/locale.gen; jaula pone ahí las locales pedidas",
    ),
    (
        "the password is a hash, and is not shown here",
        "la contraseña es un resumen, y aquí no se muestra",
    ),
    (
        "an account as useradd makes it; jaula writes the files itself",
        "una cuenta como las hace useradd; jaula escribe los ficheros por sí misma",
    ),
    (
        "how names of hosts are found",
        "cómo se encuentran los nombres de máquinas",
    ),
    (
        "packages start no services, now or later (invoke-rc.d(8))",
        "los paquetes no arrancan servicios, ni ahora ni después (invoke-rc.d(8))",
    ),
    (
        "a script of yours, which jaula runs in a jail as it runs those of packages",
        "un guion propio, que jaula ejecuta en una jaula como los de los paquetes",
    ),
    // roots of single files
    (
        "directories with the modes that they have on the host",
        "directorios con los permisos que tienen en el anfitrión",
    ),
    (
        "links as on the host, and where the loader looks without a cache",
        "enlaces como en el anfitrión, y donde el cargador busca sin caché",
    ),
    (
        "the files and what they need; set-id bits and file capabilities are dropped",
        "los ficheros y lo que necesitan; los bits set-id y las capacidades de fichero se quitan",
    ),
    // networks
    (
        "a switch inside the kernel; the mark tells that jaula made it",
        "un conmutador dentro del núcleo; la marca dice que lo hizo jaula",
    ),
    (
        "a cable: what goes in at one end comes out of the other",
        "un cable: lo que entra por un extremo sale por el otro",
    ),
    (
        "an address of its own on the card",
        "una dirección propia en la tarjeta",
    ),
    (
        "a network of its own among the card's frames",
        "una red propia entre las tramas de la tarjeta",
    ),
    ("a link that swallows all", "un enlace que se lo traga todo"),
    (
        "several cards that work as one",
        "varias tarjetas que trabajan como una",
    ),
    (
        "remove it; its addresses and routes go with it",
        "se quita; sus direcciones y rutas se van con él",
    ),
    (
        "written on the card: what goes back to it, and from where",
        "se anota en la tarjeta lo que ha de volver a ella",
    ),
    (
        "only what is up passes packets",
        "solo lo que está levantado deja pasar paquetes",
    ),
    ("change the link", "cambia el enlace"),
    (
        "its frames go to the bridge; addresses on it would not be reached any more",
        "sus tramas van al puente; a las direcciones que tuviera ya no se llegaría",
    ),
    (
        "its frames are its own again",
        "sus tramas vuelven a ser suyas",
    ),
    (
        "change how the bridge works",
        "cambia cómo trabaja el puente",
    ),
    (
        "change how the bridge works; times are hundredths of a second ({} s)",
        "cambia cómo trabaja el puente; los tiempos son centésimas de segundo ({} s)",
    ),
    (
        "change how the bridge treats the port",
        "cambia cómo trata el puente al puerto",
    ),
    (
        "an address; the route to its network comes with it",
        "una dirección; con ella viene la ruta a su red",
    ),
    (
        "take the address away; the route to its network goes with it",
        "se quita la dirección; con ella se va la ruta a su red",
    ),
    ("a way to other networks", "un camino a otras redes"),
    (
        "the old way to other networks",
        "el camino de antes a otras redes",
    ),
    ("a setting of the kernel", "un ajuste del núcleo"),
    (
        "its cards are made on the host once it is there, with its process in $jail:{}",
        "sus tarjetas se hacen en el anfitrión cuando ya existe, con su proceso en $jail:{}",
    ),
    (
        "secrets of a cloud's machine are not the jail's; what connects it is started on the host once it is there, with its process in $jail:{}",
        "los secretos de la máquina de una nube no son de la jaula; lo que la conecta se inicia en el anfitrión cuando ya existe, con su proceso en $jail:{}",
    ),
    (
        "names are resolved by what connects it",
        "los nombres los resuelve lo que la conecta",
    ),
    (
        "asked for: before unshare above comes nsenter --net={}",
        "pedido: antes del unshare de arriba va nsenter --net={}",
    ),
    // jails
    (
        "the end of what the new process does",
        "aquí acaba lo que hace el proceso nuevo",
    ),
    (
        "an empty tree that is gone with its last process",
        "un árbol vacío que desaparece con su último proceso",
    ),
    (
        "the tree is never written: changes go to memory and end with the jail{}",
        "en el árbol no se escribe nunca: los cambios van a memoria y acaban con la jaula{}",
    ),
    (
        "the tree is never written: changes go to the jail's own layer{}",
        "en el árbol no se escribe nunca: los cambios van a la capa propia de la jaula{}",
    ),
    (
        "the tree itself is written{}",
        "se escribe en el propio árbol{}",
    ),
    (
        "the tree can be read only{}",
        "el árbol solo se puede leer{}",
    ),
    (
        "; X-mount.idmap needs the rights of the host's root, so by hand this line comes before unshare, with util-linux 2.39; --ids host does without",
        "; X-mount.idmap necesita los derechos del root del anfitrión, así que a mano esta línea va antes de unshare, con util-linux 2.39; con --ids host no hace falta",
    ),
    (
        "a process that sees none of the host's processes, mounts, names or links",
        "un proceso que no ve procesos, montajes, nombres ni interfaces del anfitrión",
    ),
    (
        "where that process is; a pid that was used again is not noticed this way",
        "donde está ese proceso; así no se nota si otro proceso ha recibido ese número",
    ),
    (
        "done by unshare above: nobody inside is anybody outside",
        "lo hace el unshare de arriba: nadie de dentro es alguien fuera",
    ),
    (
        "the tree's programs are 32-bit ones, and ask uname(1) what they are: setarch below",
        "los programas del árbol son de 32 bits y preguntan a uname(1) qué son: setarch, abajo",
    ),
    (
        "configure what was unpacked only; jaula runs the preinsts before, in the order it unpacked the packages, and all of it in a jail",
        "configura lo que solo se desempaquetó; jaula ejecuta antes los preinst, en el orden en que desempaquetó los paquetes, y todo en una jaula",
    ),
    (
        "started again when it ends, and ended with its file",
        "se inicia de nuevo cuando termina, y termina con su fichero",
    ),
    (
        "done by --kill-child above",
        "lo hace el --kill-child de arriba",
    ),
    (
        "asked for: by hand, leave --kill-child out above",
        "pedido: a mano, quítese el --kill-child de arriba",
    ),
    (
        "programs expect to reach themselves",
        "los programas esperan poder llamarse a sí mismos",
    ),
    (
        "prompts and logs say where they are",
        "los indicadores y los registros dicen dónde están",
    ),
    (
        "nothing mounted here is seen outside, nor the other way round",
        "lo que se monte aquí no se ve fuera, ni al revés",
    ),
    (
        "nothing mounted here is seen outside; what the host mounts later is seen here",
        "lo que se monte aquí no se ve fuera; lo que el anfitrión monte después se ve aquí",
    ),
    (
        "namespaces made inside see each other's mounts",
        "los espacios de nombres que se hagan dentro ven los montajes unos de otros",
    ),
    ("a place the tree lacks", "un lugar que al árbol le falta"),
    (
        "as the host has it, or asked for",
        "como lo tiene el anfitrión, o pedido",
    ),
    ("as the host has it", "como lo tiene el anfitrión"),
    (
        "clocks of its own: unshare above would take --monotonic {} --boottime {}",
        "relojes propios: al unshare de arriba se le añadiría --monotonic {} --boottime {}",
    ),
    (
        "asked for, or needed by the host's programs",
        "pedido, o necesario para los programas del anfitrión",
    ),
    (
        "written, and gone with the jail",
        "se escribe en él, y desaparece con la jaula",
    ),
    (
        "directories over each other; changes go with the jail",
        "directorios unos sobre otros; los cambios se van con la jaula",
    ),
    (
        "directories over each other",
        "directorios unos sobre otros",
    ),
    (
        "a copy: the caller's own stays as it is",
        "una copia: el original queda como está",
    ),
    ("message queues of its own", "colas de mensajes propias"),
    (
        "nothing more is written there",
        "ahí ya no se escribe nada más",
    ),
    ("asked for", "pedido"),
    (
        "device nodes that hold no data, and terminals of its own",
        "dispositivos que no guardan datos, y terminales propios",
    ),
    (
        "the host's processes are seen: the kernel gives no other /proc to who has them",
        "se ven los procesos del anfitrión: a quien los tiene el núcleo no le da otro /proc",
    ),
    (
        "shows the jail's processes only",
        "muestra solo los procesos de la jaula",
    ),
    (
        "the host's own device, asked for",
        "el dispositivo del anfitrión, pedido",
    ),
    (
        "shows the jail's network, changes nothing",
        "muestra la red de la jaula, no cambia nada",
    ),
    (
        "sysfs would show the host's network",
        "sysfs mostraría la red del anfitrión",
    ),
    (
        "they tell about, or reach into, the whole machine",
        "hablan de toda la máquina, o llegan a ella",
    ),
    (
        "through them the kernel is changed",
        "a través de ellos se cambia el núcleo",
    ),
    (
        "names are resolved as on the host, whose network it is",
        "los nombres se resuelven como en el anfitrión, cuya red es",
    ),
    (
        "unlike after chroot, there is no way back to the old root",
        "al contrario que con chroot, no hay vuelta a la raíz anterior",
    ),
    (
        "a terminal of its own: script(1) comes near",
        "un terminal propio: script(1) se le acerca",
    ),
    (
        "a session of its own, so that nothing can be typed into the caller's terminal: setsid below",
        "una sesión propia, para que nada pueda teclear en el terminal de quien llama: el setsid de abajo",
    ),
    (
        "input from nothing, output to the caller",
        "sin entrada, y la salida para quien llama",
    ),
    (
        "who the program is: setpriv below",
        "quién es el programa: el setpriv de abajo",
    ),
    (
        "root inside can do no more than these: setpriv below",
        "root no puede dentro más que esto: el setpriv de abajo",
    ),
    (
        "set-user-id programs gain nothing: setpriv below",
        "los programas set-user-id no ganan nada: el setpriv de abajo",
    ),
    ("a directory inside", "un directorio de dentro"),
    (
        "the shell closes 3 below; jaula closes everything past 2",
        "abajo el intérprete cierra el 3; jaula cierra todo lo que pase del 2",
    ),
    (
        "the shell keeps what it was given; jaula closes everything past 2 but {}",
        "el intérprete conserva lo que se le dio; jaula cierra todo lo que pase del 2 menos {}",
    ),
    (
        "no classic tool loads a system call filter",
        "ninguna herramienta clásica carga un filtro de llamadas al sistema",
    ),
    (
        "no classic tool reads {}; setpriv(1) of util-linux 2.41 loads a filter that was compiled (--seccomp-filter)",
        "ninguna herramienta clásica lee {}; el setpriv(1) de util-linux 2.41 carga un filtro ya compilado (--seccomp-filter)",
    ),
    (
        "what it may touch of what it sees: setpriv below, of util-linux 2.40 for files; no classic tool for ports and scopes",
        "qué puede tocar de lo que ve: el setpriv de abajo, de util-linux 2.40 para ficheros; para puertos y ámbitos no hay herramienta clásica",
    ),
    ("the program", "el programa"),
    ("become the program", "convertirse en el programa"),
    // limits
    (
        "a limit of each process; its children inherit it",
        "un límite de cada proceso; sus hijos lo heredan",
    ),
    ("how much it yields to others", "cuánto cede a los demás"),
    (
        "timeout --kill-after={} {} before the whole script does the same",
        "timeout --kill-after={} {} delante de todo el guion hace lo mismo",
    ),
    ("{} is not enforced: {}", "{} no se cumple: {}"),
    (
        "limits of all its processes together; rmdir takes the group away when the last one has ended",
        "límites de todos sus procesos juntos; rmdir quita el grupo cuando ha acabado el último",
    ),
    // images of disks
    (
        "the kernel's driver; needs the rights of the host's root, so by hand this line comes before unshare",
        "el controlador del núcleo; necesita los derechos del root del anfitrión, así que a mano esta línea va antes de unshare",
    ),
    (
        "read-only, by a program and not by the kernel's driver; with that, as root: {}",
        "solo lectura, con un programa y no con el controlador del núcleo; con este, como root: {}",
    ),
    (
        "read-only; jaula unpacks it with its own reader, which takes neither root nor a driver",
        "solo lectura; jaula la desempaqueta con su propio lector, que no necesita ni root ni controlador",
    ),
    // images and named jails
    (
        "a private tree, seen by nobody until it is whole",
        "un árbol privado que nadie ve hasta que está entero",
    ),
    (
        "fetch what the store lacks; each file's size and SHA-256 are those of the signed index",
        "descargar lo que falta en el almacén; el tamaño y el SHA-256 de cada fichero son los del índice firmado",
    ),
    (
        "unpack every package once, straight into the tree",
        "desempaquetar cada paquete una vez, directamente en el árbol",
    ),
    (
        "unpack the archive; no entry can leave the tree",
        "desempaquetar el archivo; ninguna entrada puede salir del árbol",
    ),
    (
        "write dpkg's database in {}; dpkg --unpack does it package by package",
        "escribir la base de datos de dpkg en {}; dpkg --unpack lo hace paquete a paquete",
    ),
    (
        "run the packages' own scripts, cut off from the host and the network",
        "ejecutar los guiones de los paquetes, aislados del anfitrión y de la red",
    ),
    (
        "two builds of the same packages become the same bytes",
        "dos construcciones de los mismos paquetes dan los mismos bytes",
    ),
    (
        "the image is there whole, or not at all",
        "la imagen está entera, o no está",
    ),
    ("a name for the image", "un nombre para la imagen"),
    ("take the name away", "quitar el nombre"),
    (
        "remove it; a link is never followed and nothing mounted beneath is touched",
        "borrarlo; no se sigue ningún enlace y no se toca nada montado debajo",
    ),
    ("a layer for what it writes", "una capa para lo que escriba"),
    (
        "a name under which the program is found; what is there already stays",
        "un nombre con el que se encuentra el programa; lo que ya esté se queda",
    ),
    (
        "end the jail's first process, and all others with it",
        "acabar con el primer proceso de la jaula, y con todos los demás",
    ),
    (
        "an archive whose bytes depend on the tree alone",
        "un archivo cuyos bytes dependen solo del árbol",
    ),
    (
        "an image whose bytes depend on the tree alone",
        "una imagen cuyos bytes dependen solo del árbol",
    ),
    (
        "an ordinary tree, for chroot, systemd-nspawn -D and bwrap too",
        "un árbol corriente, también para chroot, systemd-nspawn -D y bwrap",
    ),
    (
        "copy into the jail; no link in it leads out of it",
        "copiar a la jaula; ningún enlace de ella lleva fuera",
    ),
    (
        "copy out of the jail; no link in it leads out of it",
        "copiar desde la jaula; ningún enlace de ella lleva fuera",
    ),
    (
        "image {} is in the store: nothing to do",
        "la imagen {} está en el almacén: no hay nada que hacer",
    ),
    (
        "make a root file system from signed packages, each unpacked once and configured in a jail",
        "hacer un sistema de ficheros raíz con paquetes firmados, cada uno desempaquetado una vez y configurado en una jaula",
    ),
    (
        "join the running jail; jaula also takes its rights away as in a new one",
        "entrar en la jaula que está en marcha; jaula le quita además los derechos como en una nueva",
    ),
    // simulated networks
    (
        "all of it in one user, network and process namespace: the host sees none of it",
        "todo en un solo espacio de nombres de usuarios, de red y de procesos: la máquina no ve nada de ello",
    ),
    (
        "ip netns keeps its names in a /run of the lab's own",
        "ip netns guarda sus nombres en un /run propio del laboratorio",
    ),
    (
        "switches have no addresses",
        "los conmutadores no tienen direcciones",
    ),
    ("the switch of LAN {}", "el conmutador de la LAN {}"),
    (
        "router {}: a network of its own",
        "el encaminador {}: una red propia",
    ),
    (
        "host {}: a network of its own",
        "la máquina {}: una red propia",
    ),
    ("{} hands packets on", "{} reenvía paquetes"),
    ("a cable from {} to {}", "un cable de {} a {}"),
    ("the way of {} to {}", "el camino de {} a {}"),
    (
        "what leaves {} there has its address",
        "lo que sale de {} por ahí lleva su dirección",
    ),
    (
        "what {} runs from the start",
        "lo que {} ejecuta desde el principio",
    ),
    (
        "ip netns exec NODE COMMAND runs a program in a node; the lab ends with this shell",
        "ip netns exec NODO ORDEN ejecuta un programa en un nodo; el laboratorio acaba con este intérprete",
    ),
    ("{} is on {}", "{} está en {}"),
    // what a bridge gives
    (
        "the kernel passes packets on between this link and others; it stays so",
        "el núcleo pasa paquetes entre este enlace y otros; así se queda",
    ),
    (
        "the network's own table: a way out, and nothing else open",
        "la tabla propia de la red: una salida, y nada más abierto",
    ),
    (
        "frames: no guest can be another one",
        "tramas: ningún huésped puede hacerse pasar por otro",
    ),
    (
        "a process gives addresses and names at the bridge until it goes (dnsmasq(8) does the same)",
        "un proceso da direcciones y nombres en el puente mientras exista (dnsmasq(8) hace lo mismo)",
    ),
    (
        "a process asks for the bridge's address by DHCP and renews it (dhclient(8) does the same)",
        "un proceso pide por DHCP la dirección del puente y la renueva (dhclient(8) hace lo mismo)",
    ),
];

/// A reason in Spanish; as it is when it is not known.
pub(super) fn translated(reason: &str) -> String {
    // What names itself is known before what leaves room for anything.
    let exact = REASONS.iter().find(|(english, _)| *english == reason);
    if let Some((_, spanish)) = exact {
        return (*spanish).to_owned();
    }
    let found = REASONS.iter().find_map(|(english, spanish)| {
        let parts = captured(english, reason)?;
        let mut text = String::new();
        let mut parts = parts.into_iter();
        for (index, piece) in spanish.split("{}").enumerate() {
            if index > 0 {
                let part = parts.next().unwrap_or_default();
                // A part may be a sentence of the table itself.
                let whole = REASONS.iter().find(|(english, _)| *english == part);
                text.push_str(whole.map_or(part, |(_, spanish)| spanish));
            }
            text.push_str(piece);
        }
        Some(text)
    });
    found.unwrap_or_else(|| reason.to_owned())
}

/// What stands in a text where the form has `{}`.
fn captured<'t>(form: &str, text: &'t str) -> Option<Vec<&'t str>> {
    let mut pieces = form.split("{}");
    let mut rest = text.strip_prefix(pieces.next()?)?;
    let mut found = Vec::new();
    let mut pieces = pieces.peekable();
    pieces.peek()?;
    while let Some(piece) = pieces.next() {
        let (part, after) = match pieces.peek() {
            Some(_) => rest.split_once(piece)?,
            None => (rest.strip_suffix(piece)?, ""),
        };
        found.push(part);
        rest = after;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_stays_in_its_place() {
        assert_eq!(
            translated("clocks of its own: unshare above would take --monotonic 5 --boottime -7"),
            "relojes propios: al unshare de arriba se le añadiría --monotonic 5 --boottime -7"
        );
        assert_eq!(translated("the program"), "el programa");
        assert_eq!(translated("something new"), "something new");
        let note = "; X-mount.idmap needs the rights of the host's root, so by hand this line comes before unshare, with util-linux 2.39; --ids host does without";
        let both = translated(&format!("the tree can be read only{note}"));
        assert!(
            both.starts_with("el árbol solo se puede leer; X-mount.idmap necesita"),
            "{both}"
        );
        assert_eq!(
            translated("the tree can be read only"),
            "el árbol solo se puede leer"
        );
    }

    #[test]
    fn both_languages_leave_the_same_room() {
        for (english, spanish) in REASONS {
            let count = |text: &str| text.matches("{}").count();
            assert_eq!(count(english), count(spanish), "{english}");
        }
    }
}
