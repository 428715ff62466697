import java.nio.file.*;
import java.util.stream.*;
public class Main {
    public static void main(String[] args) throws Exception {
        for (var directory : new String[] { ".", "/tmp", "/etc", "/proc/self/fd" })
            try (var list = Files.list(Path.of(directory))) { System.out.println(list.map(it -> it.getFileName().toString()).sorted().collect(Collectors.toList())); }
        System.out.println(Files.lines(Path.of("/proc/self/maps")).map(it -> it.replaceAll("^[^/]*", "")).filter(it -> it.startsWith("/")).distinct().sorted().collect(Collectors.toList()));
    }
}
