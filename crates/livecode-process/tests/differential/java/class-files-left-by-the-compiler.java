import java.nio.file.*;
import java.util.stream.*;
public class Main {
    record Point(int x) { }
    interface Shape { }
    public static void main(String[] args) throws Exception {
        Runnable lambda = () -> { };
        try (var list = Files.list(Path.of("."))) { System.out.println(list.map(it -> it + " " + it.toFile().length()).sorted().collect(Collectors.toList())); }
        System.out.println(Files.getPosixFilePermissions(Path.of("Main.class")) + " " + new Point(1));
    }
}
