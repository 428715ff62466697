//= stdin: 20 22\nrest
import java.util.*;
public class Main { public static void main(String[] args) { var in = new Scanner(System.in); System.out.println(in.nextInt() + in.nextInt()); System.out.println(in.next() + in.hasNext()); } }
