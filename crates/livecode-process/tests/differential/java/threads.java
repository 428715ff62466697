import java.util.stream.*;
public class Main {
    public static void main(String[] args) {
        System.out.println(Thread.currentThread() + " " + Thread.activeCount());
        System.out.println(Thread.getAllStackTraces().keySet().stream().map(Thread::getName).sorted().collect(Collectors.toList()));
        System.out.println(IntStream.range(0, 1000).parallel().sum());
    }
}
