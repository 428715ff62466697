import java.util.*;
public class Main {
    @SuppressWarnings("none") static List raw = new ArrayList();
    public static void main(String[] args) { raw.add(1); System.out.println(new Integer(3)); if (args.length > 3) Thread.currentThread().stop(); }
}
