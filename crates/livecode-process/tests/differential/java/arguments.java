//= arg: one
//= arg: two words
//= arg:
import java.util.*;
public class Main {
    public static void main(String[] args) {
        System.out.println(Arrays.asList(args) + " " + ProcessHandle.current().info().arguments().map(List::of));
        System.out.println(System.getProperty("sun.java.command") + " " + System.getProperty("java.class.path") + " " + System.getProperty("user.dir"));
    }
}
