public class Main { public static void main(String[] args) { for (var it : new Throwable().getStackTrace()) System.out.println(it); StackWalker.getInstance().forEach(System.out::println); } }
